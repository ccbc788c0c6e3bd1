"""Sampling an attacked model: with other starts, other conditions, or changed latents."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..models.interface import Condition, LatentChange, Model, Sampling
from .interface import Attacked, Cases, Target, Victim

Encode = Callable[[Sequence[str]], Condition]

# Gives cases other prompts.
Reworded = Callable[[Cases], Cases]


def unchanged(model: Model) -> AbstractContextManager:
    """Leave a model as it is.

    Args:
        model: Any model; it is not touched.

    Returns:
        A context manager without effect, the default of `Walk.around`.
    """
    return nullcontext()


@dataclass(frozen=True)
class Walk:
    """How cases are sampled.

    sampling  steps, guidance, sampler
    around    a context in which the model is sampled, inside that of the edit
    latents   start from these [N, C, H, W] instead of noise
    skip      sampling steps that are left out at the beginning
    change    for some of the rows, what is done to their latents after every step
    """

    sampling: Sampling
    around: Callable[[Model], AbstractContextManager] = unchanged
    latents: Tensor | None = None
    skip: int = 0
    change: Callable[[slice], LatentChange] | None = None


def sample(victim: Victim, cases: Cases, walk: Walk) -> Tensor:
    """Sample a victim.

    Args:
        victim: The attacked model; its edit is on meanwhile.
        cases: N prompts and seeds.
        walk: How.

    Returns:
        Images [N, 3, H, W] or clips [N, F, 3, H, W] in [0, 1], rounded to 8 bits, on the CPU.
    """
    images = decode(victim.model, sample_latents(victim, cases, walk))
    return (images * 255).round() / 255


def decode(model: Model, latents: Tensor) -> Tensor:
    """Images [N, 3, H, W] or clips [N, F, 3, H, W] in [0, 1] of latents, on the CPU.

    Args:
        model: Its autoencoder is used.
        latents: Of N images or clips, on the CPU.
    """
    return torch.cat([model.decode(part.to(model.device)).cpu() for part in latents.split(64)])


def sample_latents(victim: Victim, cases: Cases, walk: Walk, stop: int | None = None) -> Tensor:
    """Latents of cases, finished or after some steps.

    Args:
        victim: The attacked model; its edit is on meanwhile.
        cases: N prompts and seeds.
        walk: How.
        stop: Steps, counted from the beginning, after which to stop; None: at the end.

    Returns:
        Of N images or clips, on the CPU.
    """
    model, batch = victim.model, max(1, victim.model.max_batch // 2)
    finished = []
    with victim.on(), walk.around(model):
        for i in range(0, len(cases), batch):
            rows = slice(i, i + batch)
            trajectory = model.trajectory(
                cases.prompts[rows],
                cases.seeds[rows],
                walk.sampling,
                latents=None if walk.latents is None else walk.latents[rows],
                skip=walk.skip,
                change=None if walk.change is None else walk.change(rows),
            )
            steps = None if stop is None else stop - walk.skip + 1
            *_, (x, _) = itertools.islice(trajectory, steps)
            finished.append(x.float().cpu())
    return torch.cat(finished)


def plain(victim: Victim, target: Target, prompts: Sequence[str] = ()) -> Attacked:
    """A victim that is prompted and nothing else.

    Args:
        victim: The model.
        target: Says how images are sampled.
        prompts: Replace those of the cases, in turn; empty: as the cases say.
    """

    def sample_cases(cases: Cases) -> Tensor:
        if prompts:
            cases = with_prompts(cases, prompts)
        return sample(victim, cases, Walk(target.sampling))

    return Attacked(sample_cases, found="; ".join(prompts))


def with_prompts(cases: Cases, prompts: Sequence[str]) -> Cases:
    """Cases with other prompts, which are repeated until there are enough.

    Args:
        cases: N cases.
        prompts: At least one.
    """
    typed = tuple(prompts[i % len(prompts)] for i in range(len(cases)))
    return Cases(typed, cases.seeds, cases.instead)


def worded(cases: Cases, words: str) -> Cases:
    """Cases whose prompts no longer name the concept.

    Args:
        cases: N cases.
        words: "concept": as they are; "empty": the empty prompt; "alternative": `instead`.
    """
    if words == "concept":
        return cases
    return with_prompts(cases, [""]) if words == "empty" else with_prompts(cases, cases.instead)


def possible_words(words: Sequence[str], target: Target) -> list[str]:
    """Those of some wordings that a target has: "alternative" only where there is one.

    Args:
        words: See `worded`.
        target: Its cases say whether there is an alternative.
    """
    return [word for word in words if word != "alternative" or all(target.search.instead)]


def variants(
    shares: Sequence[float], words: Sequence[str], target: Target, label: str
) -> list[tuple[str, float, str]]:
    """The rows of an attack that is run at several shares of the steps, with several wordings.

    Args:
        shares: Of the sampling steps.
        words: See `worded`.
        target: Its cases say whether there is an alternative.
        label: Of a row, with {share} and {words}.

    Returns:
        (label, share, words) of every row.
    """
    rows = []
    for share in shares:
        for wording in possible_words(words, target):
            rows.append((label.format(share=share, words=wording), share, wording))
    return rows


@contextmanager
def encoded_by(model: Model, encode: Encode) -> Iterator[None]:
    """Inside, prompts other than "" are encoded in another way.

    Args:
        model: Its `encode` is replaced; edits of the text encoder stay in effect.
        encode: Takes prompts, none of which is "".
    """
    before = model.encode

    def replaced(prompts: Sequence[str]) -> Condition:
        return before(prompts) if list(prompts) == [""] else encode(prompts)

    model.encode = replaced
    try:
        yield
    finally:
        del model.encode


@dataclass
class Calls:
    """Images that went through a denoiser.

    forward   without gradients
    backward  forward and backward
    """

    forward: int = 0
    backward: int = 0


@contextmanager
def counted(*models: Model) -> Iterator[Calls]:
    """Count the network calls of models.

    Args:
        *models: Counted together, each once.

    Yields:
        The counts, which grow.
    """
    calls = Calls()

    def count(module: nn.Module, args: tuple, kwargs: dict) -> None:
        tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
        if torch.is_grad_enabled():
            calls.backward += len(tensors[0])
        else:
            calls.forward += len(tensors[0])

    denoisers = {}
    for model in models:
        for name in model.denoiser_names:
            denoisers[id(model.components[name])] = model.components[name]
    handles = []
    for denoiser in denoisers.values():
        handles.append(denoiser.register_forward_pre_hook(count, with_kwargs=True))
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()
