"""What a training will need, from shapes alone: the model is built on torch's meta device, and nothing is loaded or computed.

memory while training  = weights + what is tuned · (A, its gradient, two moments, Δ, the student's weights) + what the way back keeps
memory while sampling  = weights + text encoders
the host's memory      = points of the replay + conditions, once for each distinct prompt + token states that whitening reads at once
"""

import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from .change import Change
from .concept import Concept
from .concept import kept as others_of
from .errors import InputError
from .methods import AllButOne, remark
from .methods.all_but_one import MOST, TOKENS
from .models import load, place, usual
from .models.base import Model, pick
from .models.quantized import saved
from .options import Quantized, Source
from .processes import count
from .train import LOOK
from .trajectories import NUMBERS

PARTS, RANK = (1, 2, 4, 8, 16, 32), 8  # savings that `made_to_fit` tries


@dataclass(frozen=True)
class Budget:
    """Bytes, but for `tuned` (parameters), `calls` (pictures forward through the denoiser) and `flops` (of all of them, and back)."""

    tuned: int
    weights: int
    readers: int
    training: int
    activations: int
    calls: int
    flops: float

    @property
    def peak(self) -> int:
        return max(self.weights + self.readers, self.weights + self.training + self.activations)


def budget(model: Model, method: AllButOne, concepts: int = 1, quantize: Quantized | None = None) -> Budget:
    """Of All but One on a model of the device "meta". Attention is counted as flash attention keeps it; sampling's own activations are not counted."""
    tune, size = method.tune, lambda module: sum({t.untyped_storage()._cdata: t.nbytes for t in module.state_dict().values()}.values())
    sites, change, width = model.group(tune.group), Change(model, tune.group, rank=tune.rank), torch.finfo(model.dtype).bits // 8
    tuned = sum(t.numel() for t in change.trained)
    made = 8 + 2 * width if tune.rank is None else 0  # Δ and the student's weights, and the gradients of both
    own = 10 if tune.eight_bit else 16  # A, its gradient, two moments
    whitening = sum({site.reads: w.shape[1] ** 2 * 4 for site, w in zip(sites, change.weights.values()) if site.reads}.values())

    rows = 2 + bool(method.keep)  # of each point: c and ∅, and k
    at_once = rows * tune.batch // (tune.parts * count())
    kept, forward, back = on_the_way_back(model, change, tune.checkpointing)

    held = lambda trajectories: min(LOOK, method.points * -(-trajectories // max(2, round(1 / tune.held_out))))
    recorded = looked = steps = 0
    for group in method.groups(concepts):
        n, m = method.each(group) * group, 2 * method.trajectories * bool(method.keep)
        recorded += 2 * method.sampling_steps * (n + m) + method.points * (3 * n + m)
        looked += (1 + -(-tune.steps // tune.check)) * (2 * held(n) + held(m))
        steps += tune.steps * (1 + method.attacks * bool(method.adversary)) * rows * tune.batch // count()
    return Budget(
        tuned=tuned,
        weights=size(model.denoiser) - (saved(model, quantize, tune.group) if quantize else 0) + model.vae_bytes,
        readers=sum(size(c) for c in model.components.values() if c is not model.denoiser),
        training=tuned * (own + made) + whitening,
        activations=at_once * kept,
        calls=recorded + looked + steps,
        flops=(recorded + looked) * forward + steps * (forward + back),
    )


@dataclass(frozen=True)
class Host:
    """Bytes that a training keeps in the host's memory besides networks, and how many prompts the conditions are of."""

    points: int
    conditions: int
    states: int
    prompts: int

    @property
    def whole(self) -> int:
        return self.points + self.conditions + self.states


def host(model: Model, method: AllButOne, concepts: Sequence[Concept]) -> Host:
    """Of All but One on a model of the device "meta", while those of the concepts are trained that take most."""
    ends = list(itertools.accumulate(method.groups(len(concepts))))
    return max((of_run(model, method, concepts[start:end]) for start, end in zip([0, *ends], ends)), key=lambda run: run.whole)


def of_run(model: Model, method: AllButOne, concepts: Sequence[Concept]) -> Host:
    """Of concepts that are trained together. Which points are kept of a trajectory hangs on its offset: this is the mean."""
    n, m = method.each(len(concepts)) * len(concepts), 2 * method.trajectories * bool(method.keep)
    points = method.sampling_steps / max(1, method.sampling_steps // method.points)
    pairs, others = [pair for concept in concepts for pair in concept.pairs()], others_of(concepts, model.vocabulary)
    c_and_a = sum(min(int(n * points), len(set(prompts))) for prompts in zip(*pairs))
    prompts = c_and_a + 1 + min(m * method.points, len(others))

    latent, width = math.prod(model.latent_shape), torch.finfo(model.dtype).bits // 8
    point = lambda roles: latent * (width + 4 * roles) + 8 * (2 + roles)  # x, and `said` in single precision; t, trajectory, `which`
    one = sum(t.nbytes for t in pick(model.encode([""]), slice(0, 1)).values())
    return Host(int(points * (n * point(3) + m * point(1))), prompts * one, whitened(model, method, len(others)), prompts)


def whitened(model: Model, method: AllButOne, others: int) -> int:
    """Bytes of the token states that whitening reads at once, in double precision, too; or of their second moment, which five matrices
    come of: itself, what is decomposed, its vectors, and two of LAPACK's."""
    reads = {site.reads for site in model.group(method.tune.group) if site.reads}
    if method.tune.whiten is None or not reads:
        return 0
    condition = pick(model.encode([""]), slice(0, 1))
    prompts = 1 + min(others, MOST, TOKENS // condition[model.words].shape[1])
    at_once = min(NUMBERS, prompts * sum(t.numel() for t in condition.values()))
    width = max(model.reading(name, condition).shape[-1] for name in reads)
    return max(at_once * (8 + torch.finfo(model.dtype).bits // 8), 5 * width**2 * 8)


def on_the_way_back(model: Model, change: Change, checkpointing: bool) -> tuple[int, float, float]:
    """(bytes that one row's forward pass keeps for the backward pass, FLOPs of both)."""
    weighed = {t.untyped_storage()._cdata for t in (*model.denoiser.parameters(), *change.trained)}
    kept: dict[int, Tensor] = {}
    largest = 0

    def into(store: dict[int, Tensor]) -> Callable[[Tensor], Tensor]:
        def keep(t: Tensor) -> Tensor:
            if (place := t.untyped_storage()._cdata) not in weighed:
                store[place] = t
            return t

        return keep

    def block(module: Any, *args: Any) -> Any:
        """In the place of checkpointing: what goes in is kept, of what is inside only the largest block's, one at a time."""
        nonlocal largest
        inside: dict[int, Tensor] = {}
        for arg in args:
            if isinstance(arg, Tensor):
                into(kept)(arg)
        with torch.autograd.graph.saved_tensors_hooks(into(inside), lambda t: t):
            out = module(*args)
        largest = max(largest, sum(t.untyped_storage().nbytes() for place, t in inside.items() if place not in kept))
        return out

    denoiser: Any = model.denoiser
    c = pick(model.encode([""]), slice(0, 1))
    x, t = torch.zeros(1, *model.latent_shape, device=model.device, dtype=model.dtype), torch.full((1,), 500, device=model.device)
    # As a whole, the student's weights are new tensors of the old shapes: the old ones stand for them here.
    whole = [getattr(owner, name.rpartition(".")[2]) for name, owner in change.owners.items()] if change.rank is None else []
    if checkpointing:
        denoiser.enable_gradient_checkpointing(block)
    try:
        for w in whole:
            w.requires_grad_(True)
        with flash(), nullcontext() if whole else change.on():
            with torch.autograd.graph.saved_tensors_hooks(into(kept), lambda t: t), FlopCounterMode(display=False) as there:
                y = model.predict(x, t, c)
            with FlopCounterMode(display=False) as back:
                y.sum().backward()
    finally:
        for w in whole:
            w.grad = None
            w.requires_grad_(False)
        if checkpointing:
            denoiser.disable_gradient_checkpointing()
    bytes_kept = sum(t.untyped_storage().nbytes() for t in kept.values()) + largest
    again = there.get_total_flops() if checkpointing else 0
    return bytes_kept, float(there.get_total_flops()), float(back.get_total_flops() + again)


class Flash(torch.autograd.Function):
    """Attention by shapes: what flash attention keeps is q, k, v and what comes out, and never the attention itself."""

    @staticmethod
    def forward(ctx, q, k, v):
        out = q.new_empty(*q.shape[:-1], v.shape[-1])
        ctx.save_for_backward(q, k, v, out)
        return out

    @staticmethod
    def backward(ctx, *gradients):
        q, k, v, _ = ctx.saved_tensors
        return torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)


@contextmanager
def flash() -> Iterator[None]:
    functional: Any = torch.nn.functional
    own = functional.scaled_dot_product_attention
    functional.scaled_dot_product_attention = lambda query, key, value, *_, **__: Flash.apply(query, key, value)
    try:
        yield
    finally:
        functional.scaled_dot_product_attention = own


def room(device: torch.device) -> int | None:
    """Bytes that are free there; None where nobody tells."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type != "cpu" or not (told := Path("/proc/meminfo")).exists():
        return None
    return next(int(line.split()[1]) * 1024 for line in told.read_text().splitlines() if line.startswith("MemAvailable:"))


def pace(device: torch.device, dtype: torch.dtype, n: int = 1024) -> float:
    """FLOPs a second on one large product: more than any network reaches."""
    a, b = (torch.ones(n, n, device=device, dtype=dtype) for _ in range(2))
    float((a @ b)[0, 0])
    start = time.perf_counter()
    for _ in range(4):
        a = (a @ b) / n
    float(a[0, 0])
    return 4 * 2 * n**3 / (time.perf_counter() - start)


def made_to_fit(
    model: Model, method: AllButOne, concepts: int, bytes_free: int, quantize: Quantized | None = None
) -> tuple[AllButOne, Quantized | None] | None:
    """As few savings as make it fit: a batch in parts first, then activations computed again, a change of low rank, what is not tuned in
    4 bits; None where all of them do not help."""
    own, at_most = method.tune, max(parts for parts in PARTS if method.tune.batch % (parts * count()) == 0)

    def fits(saving: AllButOne, bits: Quantized | None) -> bool:
        return budget(model, saving, concepts, bits).peak <= bytes_free

    precisions: list[Quantized | None] = [quantize] if quantize else [None, "nf4"]
    ranks = [own.rank] if own.rank else [None, RANK]
    for bits in precisions:
        for rank, checkpointing in itertools.product(ranks, dict.fromkeys((own.checkpointing, True))):
            tunes = [replace(own, parts=parts, rank=rank, checkpointing=checkpointing) for parts in PARTS if at_most % parts == 0]
            savings = [replace(method, tune=tune) for tune in tunes]
            if fits(savings[-1], bits):
                return next(saving for saving in savings if fits(saving, bits)), bits
    return None


def tell(source: Source, method: object, concepts: Sequence[Concept], quantize: Quantized | None = None) -> list[str]:
    """Lines for people about a run from `source`; the last warns where it does not fit."""
    device = place(source.device)
    dtype = source.dtype or usual(source.model, device)
    try:
        model = load(replace(source, device="meta", dtype=dtype))
        notes = [f"note     {line}" for line in (model.remark, remark(method, model)) if line]
        if not isinstance(method, AllButOne):
            return ["memory   only told of all-but-one", *notes]
        need, here = budget(model, method, len(concepts), quantize), host(model, method, concepts)
    except InputError as error:
        return [f"memory   cannot be told: {error}"]
    gib, sampling, beside = lambda n: f"{n / 2**30:.1f} GiB", need.weights + need.readers, here.whole + need.readers
    free, host_free = room(device), room(torch.device("cpu"))
    training = need.weights + need.training + need.activations
    parts = f"weights {gib(need.weights)}, tuned {gib(need.training)}, activations {gib(need.activations)}"
    away = "" if device.type == "cpu" else f", and text encoders {gib(need.readers)}"
    lines = [
        f"device   {device}, {dtype}",
        f"tuned    {need.tuned:,} parameters: {method.tune.group}",
        f"memory   {gib(training)} while training ({parts}), {gib(sampling)} and more while sampling; {gib(free) if free else 'nobody tells how much'} free",
        f"host     {gib(here.whole)} of the host's memory besides (points {gib(here.points)}, {here.prompts:,} prompts {gib(here.conditions)}, token states {gib(here.states)}){away}",
        f"work     {need.calls:,} network calls, {need.flops / 1e12:,.1f} TFLOP: {need.flops / pace(device, model.dtype):,.0f} s at the pace of one large product there, now",
    ]  # fmt: skip
    lines += notes
    left = free - here.whole if free and device.type == "cpu" else free  # there the host's memory is the device's
    if device.type != "cpu" and host_free and beside > host_free:
        lines.append(
            f"warning  the host's memory will not hold it: {gib(beside)} of {gib(host_free)} free; fewer trajectories or points would"
        )
    if left and max(training, sampling) > left:
        found = made_to_fit(model, method, len(concepts), left, quantize)
        lines.append(f"warning  this will not fit: {f'{instead(method, *found)} would' if found else 'and no saving makes it fit'}")
    return lines


def instead(method: AllButOne, saving: AllButOne, quantize: Quantized | None) -> str:
    """The settings that `saving` has and `method` has not, as a YAML file and the command line name them."""
    tune = {key: value for key, value in asdict(saving.tune).items() if value != getattr(method.tune, key)}
    words = ", ".join(f"{key}: {str(value).lower()}" for key, value in tune.items())
    return " and ".join([*([f"settings: tune: {{{words}}}"] if tune else []), *([f"--quantize {quantize}"] if quantize else [])])
