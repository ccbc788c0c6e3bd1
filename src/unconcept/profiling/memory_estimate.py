"""The device memory that a training will need, from shapes alone.

The model is built on torch's meta device: nothing is loaded or computed.

memory while training  = weights
                       + trained parameters · (A, its gradient, Adam's two moments)
                       + Δ, the student's weights and the gradients of both, where they are made
                       + activations that the forward pass keeps for the backward pass
memory while sampling  = weights + text encoders + what a pass holds at its worst moment
"""

from dataclasses import dataclass

import torch
from torch import nn

from ..config.options import Quantized
from ..methods.all_but_one import AllButOne
from ..models.interface import Model
from ..models.offloading import largest_layer
from ..models.quantization import bytes_saved
from ..training.config import Tune
from ..training.distributed import process_count
from ..training.prompt_states import prompt_readers
from ..training.trainable_delta import TrainableDelta
from ..training.whitening import rows_per_step
from .activations import activation_bytes
from .live_memory import sampling_bytes
from .network_calls import ERASE_ROLES, TRAINED_ROLES, network_calls

FP32_BYTES = 4

# Bytes per trained parameter: A, its gradient and Adam's two moments, each in fp32 ...
ADAM_BYTES = 4 * FP32_BYTES

ADAM_8BIT_BYTES = 2 * FP32_BYTES + 2  # ... or the moments in 8 bits


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
        """Bytes while the edit is trained."""
        return self.weights + self.training + self.activations

    @property
    def while_sampling(self) -> int:
        """Bytes of the weights while images are sampled."""
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
    """Bytes of a module's tensors, tied ones counted once.

    Args:
        module: On any device, "meta" included; its state dict counts.
    """
    storages = {t.untyped_storage()._cdata: t.nbytes for t in module.state_dict().values()}
    return sum(storages.values())


def count_parameters(delta: TrainableDelta) -> int:
    """Number of trained parameters.

    Args:
        delta: Where its rank is low, the numbers of its factors count.
    """
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
    """Bytes of a number in the model's precision.

    Args:
        model: Its dtype is that of weights which are not quantized.

    Returns:
        4 for fp32, 2 for fp16 and bf16.
    """
    return torch.finfo(model.dtype).bits // 8


def rows_at_once(method: AllButOne) -> int:
    """Rows of a micro-batch: of each point c and the empty prompt, and a retained prompt.

    Args:
        method: Batch size, gradient accumulation and ρ decide; a retained prompt is there where ρ
            is not 0.

    Returns:
        Rows in one process.
    """
    rows = TRAINED_ROLES + bool(method.rho)
    micro_batches = method.tune.gradient_accumulation * process_count()
    return rows * method.tune.batch_size // micro_batches
