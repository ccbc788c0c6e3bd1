"""What a training will need, from shapes alone.

The model is built on torch's meta device: nothing is loaded or computed.

memory while training  = weights
                       + trained parameters · (A, its gradient, Adam's two moments)
                       + Δ, the student's weights and the gradients of both, where they are made
                       + activations that the forward pass keeps for the backward pass
memory while sampling  = weights + text encoders + what a pass holds at its worst moment
CPU memory             = points of the replay + conditions, once per distinct prompt
                       + token states that whitening reads at once
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from ..concepts.concept import Concept
from ..concepts.retain import retain_prompts
from ..config.options import Quantized
from ..methods.all_but_one import MAX_RETAINED_PROMPTS, MAX_RETAINED_TOKENS, AllButOne
from ..models.conditioning import MAX_CONDITION_NUMBERS, empty_condition, pick
from ..models.interface import Model
from ..models.offloading import largest_layer
from ..models.quantization import bytes_saved
from ..training.config import Tune
from ..training.distributed import process_count
from ..training.prompt_states import prompt_readers
from ..training.replay import target_dtype
from ..training.replay_trainer import HELD_OUT_POINTS
from ..training.trainable_delta import TrainableDelta
from ..training.whitening import rows_per_step
from .activations import activation_bytes
from .live_memory import sampling_bytes

FP32_BYTES = 4

FP64_BYTES = 8

INDEX_BYTES = 8  # of an int64

# Bytes per trained parameter: A, its gradient and Adam's two moments, each in fp32 ...
ADAM_BYTES = 4 * FP32_BYTES

ADAM_8BIT_BYTES = 2 * FP32_BYTES + 2  # ... or the moments in 8 bits

# float64 matrices of the whitening's width at once: the second moment, the matrix that is
# decomposed, its eigenvectors, and two of LAPACK's.
WHITENING_MATRICES = 5

ERASE_ROLES = 3  # conditions recorded per point of the concept: c, a and the empty prompt

TRAINED_ROLES = 2  # of them predicted by the student: c and the empty prompt


@dataclass(frozen=True)
class NetworkCalls:
    """Images that go forward through the denoiser, by what for.

    recording  trajectories and teacher predictions of the replay
    held_out   evaluations of the held-out loss
    training   training steps, each of them also a backward pass
    """

    recording: int
    held_out: int
    training: int

    @property
    def total(self) -> int:
        return self.recording + self.held_out + self.training


@dataclass(frozen=True)
class MemoryEstimate:
    """What a training on the device needs, in bytes unless said otherwise.

    trained_parameters  their number
    weights             denoiser and VAE
    text_encoders       on the device only while sampling
    training            trained parameters with gradients and optimizer state
    activations         kept for the backward pass of one micro-batch
    calls               network calls of the whole training (a count)
    flops               of all of them, backward passes included
    sampling            besides weights, while images are sampled; 0 where it was not counted
    """

    trained_parameters: int
    weights: int
    text_encoders: int
    training: int
    activations: int
    calls: int
    flops: float
    sampling: int = 0

    @property
    def peak(self) -> int:
        """Bytes at the larger of the two peaks, sampling and training."""
        return max(self.while_sampling, self.while_training)

    @property
    def peak_with_sampling(self) -> int:
        """The same with what passes of sampling hold."""
        return max(self.while_sampling + self.sampling, self.while_training)

    @property
    def while_training(self) -> int:
        return self.weights + self.training + self.activations

    @property
    def while_sampling(self) -> int:
        return self.weights + self.text_encoders


class Passes:
    """What passes through one model cost, each counted once.

    Counting a large model by its shapes takes seconds, and a search for savings asks many times.
    """

    def __init__(self, model: Model):
        """Count nothing yet.

        Args:
            model: A model on the device "meta".
        """
        self.model = model
        self._training: dict[tuple[bool, int | None], tuple[int, float, float]] = {}
        self._sampling: int | None = None

    def training(self, delta: TrainableDelta, checkpointing: bool) -> tuple[int, float, float]:
        """`activation_bytes`. It depends on the rank of a change, and not on the size of a batch.

        Args:
            delta: The trained parameters.
            checkpointing: With gradient checkpointing.

        Returns:
            (bytes, FLOPs forward, FLOPs backward) of one row.
        """
        key = checkpointing, delta.rank
        if key not in self._training:
            self._training[key] = activation_bytes(self.model, delta, checkpointing)
        return self._training[key]

    @property
    def sampling(self) -> int:
        """`sampling_bytes`; 0 for a model that reads numbers while it computes, as Wan does."""
        if self._sampling is None:
            try:
                self._sampling = sampling_bytes(self.model)
            except (RuntimeError, NotImplementedError):  # there are none on the device "meta"
                self._sampling = 0
        return self._sampling


def estimate_memory(
    model: Model,
    method: AllButOne,
    concepts: int = 1,
    quantize: Quantized | None = None,
    passes: Passes | None = None,
    cpu_offload: bool = False,
) -> MemoryEstimate:
    """Estimate the device memory and the work of an All but One training.

    Attention is counted as flash attention stores it.

    Args:
        model: A model on the device "meta".
        method: The method with its hyperparameters.
        concepts: How many concepts are erased.
        quantize: How the weights that are not trained are held.
        passes: What was counted of this model before. None: what sampling holds is not counted.
        cpu_offload: Weights wait in CPU memory; one layer at a time is on the device.

    Returns:
        Bytes, network calls and FLOPs.
    """
    tune = method.tune
    delta = trainable_delta(model, method)
    row_bytes, forward_flops, backward_flops = 0, 0.0, 0.0
    if method.trains:
        counted = passes or Passes(model)
        row_bytes, forward_flops, backward_flops = counted.training(
            delta, tune.gradient_checkpointing
        )
    calls = network_calls(method, concepts)
    denoisers = [model.components[name] for name in model.denoiser_names]
    weights = model.vae_bytes + sum(unique_bytes(denoiser) for denoiser in denoisers)
    if quantize:
        weights -= bytes_saved(model, quantize, tune.group)
    text_encoders = 0
    for component in model.components.values():
        if not any(component is denoiser for denoiser in denoisers):
            text_encoders += unique_bytes(component)
    if cpu_offload:
        weights = model.vae_bytes + largest_layer(model)
        text_encoders = 0
    training = (
        trainable_bytes(delta, tune)
        + gradient_bytes(model, delta)
        + whitening_bytes(model, delta, tune)
    )
    return MemoryEstimate(
        trained_parameters=count_parameters(delta),
        weights=weights,
        text_encoders=text_encoders,
        training=method.trains * training,
        activations=method.trains * rows_at_once(method) * row_bytes,
        calls=calls.total,
        flops=calls.total * forward_flops + calls.training * backward_flops,
        sampling=passes.sampling if passes else 0,
    )


def trainable_delta(model: Model, method: AllButOne) -> TrainableDelta:
    """The trained parameters of a method, by shapes.

    Args:
        model: A model on the device "meta".
        method: The method with its hyperparameters.

    Returns:
        The delta; its tensors have shapes but no values.
    """
    tune = method.tune
    whitened = {}
    if tune.whiten is not None and tune.rank is None:
        for site in model.weight_group(tune.group):
            if site.reads:
                whitened[site.name] = torch.empty(0)
    roles = ERASE_ROLES + bool(method.rho)
    rows = rows_per_step(model, tune, roles)
    return TrainableDelta(model, tune.group, rank=tune.rank, P=whitened, rows=rows)


def unique_bytes(module: nn.Module) -> int:
    """Bytes of a module's tensors, tied ones counted once."""
    storages = {t.untyped_storage()._cdata: t.nbytes for t in module.state_dict().values()}
    return sum(storages.values())


def count_parameters(delta: TrainableDelta) -> int:
    return sum(parameter.numel() for parameter in delta.trained)


def changed_numbers(model: Model, method: AllButOne) -> int:
    """The most numbers that the edit can hold.

    Args:
        model: The model, on any device.
        method: The method with its hyperparameters.

    Returns:
        All numbers of the matrices that change; of a trained change of low rank those of its
        factors, where that is less.
    """
    sites = prompt_readers(model) if method.start == "closed" else ()
    changed = {site.name: site for site in sites}
    rank = method.tune.rank if method.trains and method.start == "none" else None
    if method.trains:
        for site in model.weight_group(method.tune.group):
            changed[site.name] = site
    total = 0
    for site in changed.values():
        owner, parameter = site.find(model.components)
        weight = getattr(owner, parameter)
        whole = weight.numel()
        factors = whole if rank is None else rank * (len(weight) + whole // len(weight))
        total += min(whole, factors)
    return total


def trainable_bytes(delta: TrainableDelta, tune: Tune) -> int:
    """Bytes of the trained parameters with their gradients and optimizer state.

    Args:
        delta: The trained parameters.
        tune: Says whether Adam keeps its moments in 8 bits.

    Returns:
        Bytes.
    """
    return count_parameters(delta) * (ADAM_8BIT_BYTES if tune.adam_8bit else ADAM_BYTES)


def gradient_bytes(model: Model, delta: TrainableDelta) -> int:
    """Bytes of Δ and the student's weights, with the gradients of both.

    Layers whose Δ is applied to the input instead (`delta.factored_layers`) make neither.

    Args:
        model: Its precision is that of the student's weights; Δ is in fp32.
        delta: The trained parameters.

    Returns:
        Bytes.
    """
    applied_to_input = delta.factored_layers()
    materialized = sum(A.numel() for name, A in delta.A.items() if name not in applied_to_input)
    return materialized * 2 * (FP32_BYTES + bytes_per_number(model))


def whitening_bytes(model: Model, delta: TrainableDelta, tune: Tune) -> int:
    """Bytes of the whitening matrices, one for every tensor that weights of the group read.

    Args:
        model: The model that is trained.
        delta: The trained parameters.
        tune: Names the weight group.

    Returns:
        Bytes.
    """
    widths = {}
    for site, weight in zip(model.weight_group(tune.group), delta.weights.values()):
        if site.reads:
            widths[site.reads] = weight.shape[1]
    return sum(width**2 * FP32_BYTES for width in widths.values())


def bytes_per_number(model: Model) -> int:
    return torch.finfo(model.dtype).bits // 8


def rows_at_once(method: AllButOne) -> int:
    """Rows of a micro-batch: of each point c and the empty prompt, and a retained prompt."""
    rows = TRAINED_ROLES + bool(method.rho)
    micro_batches = method.tune.gradient_accumulation * process_count()
    return rows * method.tune.batch_size // micro_batches


def network_calls(method: AllButOne, concepts: int = 1) -> NetworkCalls:
    """Count the network calls of an All but One training beforehand.

    Early stopping may save some of the training's.

    Args:
        method: The method with its hyperparameters.
        concepts: How many concepts are erased.

    Returns:
        Calls of one process.
    """
    groups = [group_calls(method, size) for size in method.groups(concepts)]
    return NetworkCalls(
        recording=sum(calls.recording for calls in groups),
        held_out=sum(calls.held_out for calls in groups),
        training=sum(calls.training for calls in groups),
    )


def group_calls(method: AllButOne, concepts: int) -> NetworkCalls:
    """The same for concepts that are trained together.

    Args:
        method: The method with its hyperparameters.
        concepts: Size of the group.

    Returns:
        Calls of one process, in one round of training; none where the closed form is all.
    """
    if not method.trains:
        return NetworkCalls(recording=0, held_out=0, training=0)
    tune = method.first_round
    erased = method.trajectories_per_concept(concepts) * concepts
    retained = 2 * method.trajectories * bool(method.rho)
    sampling = 2 * method.sampling_steps * (erased + retained)  # with the prompt and without
    predictions = method.points * (ERASE_ROLES * erased + retained)
    points = TRAINED_ROLES * held_out_points(method, erased) + held_out_points(method, retained)
    evaluations = 1 + math.ceil(tune.steps / tune.check)
    rows = TRAINED_ROLES + bool(method.rho) + method.attacks * bool(method.adversary)
    return NetworkCalls(
        recording=sampling + predictions,
        held_out=evaluations * points + 2 * TRAINED_ROLES * held_out_points(method, erased),
        training=tune.steps * rows * tune.batch_size // process_count(),
    )


def held_out_points(method: AllButOne, trajectories: int) -> int:
    """Points of so many trajectories that one evaluation of the held-out loss reads.

    Args:
        method: Says how many points a trajectory has and which share is held out.
        trajectories: Number of trajectories, held-out ones included.

    Returns:
        Number of points, at most HELD_OUT_POINTS.
    """
    every = max(2, round(1 / method.tune.held_out))
    return min(HELD_OUT_POINTS, method.points * math.ceil(trajectories / every))


@dataclass(frozen=True)
class CpuMemory:
    """What a training holds in CPU memory besides the networks, in bytes unless said otherwise.

    points      latents and predictions of the replay
    conditions  text conditions, once per distinct prompt
    states      token states, or the matrices of their second moment, while whitening
    prompts     number of distinct prompts
    """

    points: int
    conditions: int
    states: int
    prompts: int

    @property
    def whole(self) -> int:
        return self.points + self.conditions + self.states


def estimate_cpu_memory(model: Model, method: AllButOne, concepts: Sequence[Concept]) -> CpuMemory:
    """Estimate the CPU memory of an All but One training.

    Args:
        model: A model on the device "meta".
        method: The method with its hyperparameters.
        concepts: What is erased; of several groups the largest counts.

    Returns:
        Bytes, and the number of prompts.
    """
    ends = list(itertools.accumulate(method.groups(len(concepts))))
    runs = []
    for start, end in zip([0, *ends], ends):
        runs.append(group_cpu_memory(model, method, concepts[start:end]))
    return max(runs, key=lambda run: run.whole)


def group_cpu_memory(model: Model, method: AllButOne, concepts: Sequence[Concept]) -> CpuMemory:
    """Estimate the CPU memory for concepts that are trained together.

    Which points are kept of a trajectory depends on its offset: this is the mean.

    Args:
        model: A model on the device "meta".
        method: The method with its hyperparameters.
        concepts: The concepts of one group.

    Returns:
        Bytes, and the number of prompts.
    """
    trajectories = method.trajectories_per_concept(len(concepts)) * len(concepts)
    retained_trajectories = 2 * method.trajectories * bool(method.rho)
    points = method.sampling_steps / max(1, method.sampling_steps // method.points)
    retained = retain_prompts(concepts, model.vocabulary)
    pairs = [pair for concept in concepts for pair in concept.pairs()]
    prompts = 1 + min(retained_trajectories * method.points, len(retained))
    for column in zip(*pairs):
        prompts += min(int(trajectories * points), len(set(column)))
    points_bytes = points * (
        trajectories * point_bytes(model, ERASE_ROLES)
        + retained_trajectories * point_bytes(model, 1)
    )
    condition = pick(empty_condition(model), slice(0, 1))
    condition_bytes = sum(tensor.nbytes for tensor in condition.values())
    states = whitening_cpu_bytes(model, method, len(retained))
    if not method.trains:  # the closed form has no replay
        return CpuMemory(0, 0, states, prompts)
    return CpuMemory(int(points_bytes), prompts * condition_bytes, states, prompts)


def point_bytes(model: Model, roles: int) -> int:
    """Bytes of a replay's point: x, t, trajectory, and per role a prediction and an index.

    Args:
        model: Says the shape and the precision of a latent.
        roles: Predictions recorded at the point: ERASE_ROLES on trajectories of erased concepts,
            1 on those of retained prompts.

    Returns:
        Bytes.
    """
    latent = math.prod(model.latent_shape)
    prediction = torch.finfo(target_dtype(model)).bits // 8
    return latent * (bytes_per_number(model) + prediction * roles) + INDEX_BYTES * (2 + roles)


def whitening_cpu_bytes(model: Model, method: AllButOne, retained: int) -> int:
    """Bytes that whitening needs in CPU memory.

    The larger of two: the token states it reads at once, also in float64; the matrices of their
    second moment.

    Args:
        model: A model on the device "meta".
        method: The method with its hyperparameters.
        retained: Number of retained prompts.

    Returns:
        Bytes; 0 if nothing is whitened.
    """
    reads = {site.reads for site in model.weight_group(method.tune.group) if site.reads}
    if method.tune.whiten is None or not reads:
        return 0
    condition = pick(empty_condition(model), slice(0, 1))
    tokens = condition[model.prompt_states_key].shape[1]
    prompts = 1 + min(retained, MAX_RETAINED_PROMPTS, MAX_RETAINED_TOKENS // tokens)
    numbers = prompts * sum(tensor.numel() for tensor in condition.values())
    at_once = min(MAX_CONDITION_NUMBERS, numbers)
    width = max(model.linear_input(name, condition).shape[-1] for name in reads)
    states = at_once * (FP64_BYTES + bytes_per_number(model))
    return max(states, WHITENING_MATRICES * width**2 * FP64_BYTES)
