"""What a training will need, from shapes alone: the model is built on torch's meta device, and nothing is loaded or computed.

memory while training  = weights + what is tuned · (A, its gradient, two moments) + Δ and the student's weights where they are made
                       + what the way back keeps
memory while sampling  = weights + text encoders
the host's memory      = points of the replay + conditions, once for each distinct prompt + token states that whitening reads at once
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..concepts.concept import Concept
from ..concepts.retain import retain_prompts as others_of
from ..config.options import Quantized
from ..methods.all_but_one import MOST, TOKENS, AllButOne
from ..models.conditioning import MAX_CONDITION_NUMBERS, pick
from ..models.interface import Model
from ..models.quantization import saved
from ..training.distributed import process_count
from ..training.replay_trainer import HELD_OUT_POINTS
from ..training.trainable_delta import TrainableDelta
from ..training.whitening import rows_per_step
from .activations import activation_bytes


@dataclass(frozen=True)
class MemoryEstimate:
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


def estimate_memory(model: Model, method: AllButOne, concepts: int = 1, quantize: Quantized | None = None) -> MemoryEstimate:
    """Of All but One on a model of the device "meta". Attention is counted as flash attention keeps it; sampling's own activations are not counted."""
    tune, size = method.tune, lambda module: sum({t.untyped_storage()._cdata: t.nbytes for t in module.state_dict().values()}.values())
    sites, width = model.weight_group(tune.group), torch.finfo(model.dtype).bits // 8
    read = {site.name: torch.empty(0) for site in sites if site.reads and tune.whiten is not None and tune.rank is None}
    change = TrainableDelta(model, tune.group, rank=tune.rank, P=read, rows=rows_per_step(model, tune, 3 + bool(method.rho)))  # c, a, ∅, k
    tuned, beside = sum(t.numel() for t in change.trained), change.factored_layers()
    made = (8 + 2 * width) * sum(
        a.numel() for name, a in change.A.items() if name not in beside
    )  # Δ, the student's weights, both gradients
    own = 10 if tune.adam_8bit else 16  # A, its gradient, two moments
    whitening = sum({site.reads: w.shape[1] ** 2 * 4 for site, w in zip(sites, change.weights.values()) if site.reads}.values())

    rows = 2 + bool(method.rho)  # of each point: c and ∅, and k
    at_once = rows * tune.batch_size // (tune.gradient_accumulation * process_count())
    kept, forward, back = activation_bytes(model, change, tune.gradient_checkpointing)

    held = lambda trajectories: min(HELD_OUT_POINTS, method.points * -(-trajectories // max(2, round(1 / tune.held_out))))
    recorded = looked = steps = 0
    for group in method.groups(concepts):
        n, m = method.each(group) * group, 2 * method.trajectories * bool(method.rho)
        recorded += 2 * method.sampling_steps * (n + m) + method.points * (3 * n + m)
        looked += (1 + -(-tune.steps // tune.check)) * (2 * held(n) + held(m))
        steps += tune.steps * (rows + method.attacks * bool(method.adversary)) * tune.batch_size // process_count()
    return MemoryEstimate(
        tuned=tuned,
        weights=size(model.denoiser) - (saved(model, quantize, tune.group) if quantize else 0) + model.vae_bytes,
        readers=sum(size(c) for c in model.components.values() if c is not model.denoiser),
        training=tuned * own + made + whitening,
        activations=at_once * kept,
        calls=recorded + looked + steps,
        flops=(recorded + looked) * forward + steps * (forward + back),
    )


@dataclass(frozen=True)
class CpuMemory:
    """Bytes that a training keeps in the host's memory besides networks, and how many prompts the conditions are of."""

    points: int
    conditions: int
    states: int
    prompts: int

    @property
    def whole(self) -> int:
        return self.points + self.conditions + self.states


def estimate_cpu_memory(model: Model, method: AllButOne, concepts: Sequence[Concept]) -> CpuMemory:
    """Of All but One on a model of the device "meta", while those of the concepts are trained that take most."""
    ends = list(itertools.accumulate(method.groups(len(concepts))))
    return max((run_memory(model, method, concepts[start:end]) for start, end in zip([0, *ends], ends)), key=lambda run: run.whole)


def run_memory(model: Model, method: AllButOne, concepts: Sequence[Concept]) -> CpuMemory:
    """Of concepts that are trained together. Which points are kept of a trajectory hangs on its offset: this is the mean."""
    n, m = method.each(len(concepts)) * len(concepts), 2 * method.trajectories * bool(method.rho)
    points = method.sampling_steps / max(1, method.sampling_steps // method.points)
    pairs, others = [pair for concept in concepts for pair in concept.pairs()], others_of(concepts, model.vocabulary)
    c_and_a = sum(min(int(n * points), len(set(prompts))) for prompts in zip(*pairs))
    prompts = c_and_a + 1 + min(m * method.points, len(others))

    latent, width = math.prod(model.latent_shape), torch.finfo(model.dtype).bits // 8
    point = lambda roles: latent * (width + 4 * roles) + 8 * (2 + roles)  # x, and `said` in single precision; t, trajectory, `which`
    one = sum(t.nbytes for t in pick(model.encode([""]), slice(0, 1)).values())
    return CpuMemory(int(points * (n * point(3) + m * point(1))), prompts * one, whitened(model, method, len(others)), prompts)


def whitened(model: Model, method: AllButOne, others: int) -> int:
    """Bytes of the token states that whitening reads at once, in double precision, too; or of their second moment, which five matrices
    come of: itself, what is decomposed, its vectors, and two of LAPACK's."""
    reads = {site.reads for site in model.weight_group(method.tune.group) if site.reads}
    if method.tune.whiten is None or not reads:
        return 0
    condition = pick(model.encode([""]), slice(0, 1))
    prompts = 1 + min(others, MOST, TOKENS // condition[model.prompt_states_key].shape[1])
    at_once = min(MAX_CONDITION_NUMBERS, prompts * sum(t.numel() for t in condition.values()))
    width = max(model.linear_input(name, condition).shape[-1] for name in reads)
    return max(at_once * (8 + torch.finfo(model.dtype).bits // 8), 5 * width**2 * 8)
