"""What one row costs, from shapes alone.

The bytes that its forward pass keeps for the backward pass, and the FLOPs of both.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from ..models.conditioning import empty_condition, pick
from ..models.interface import Model
from ..training.trainable_delta import TrainableDelta
from . import meta_kernels

TIMESTEP = 500  # any: shapes do not depend on it


class SavedTensors:
    """Tensors that autograd keeps for the backward pass, once per storage; weights apart."""

    def __init__(self, weights: Iterable[Tensor]):
        """Begin with nothing saved.

        Args:
            weights: Tensors that are in memory anyway.
        """
        self.weights = {storage_of(weight) for weight in weights}
        self.saved: dict[int, Tensor] = {}
        self.largest_block = 0

    def into(self, tensors: dict[int, Tensor]) -> Callable[[Tensor], Tensor]:
        """A hook that notes what autograd saves.

        Args:
            tensors: Where to note it.

        Returns:
            A function that gives its tensor back.
        """

        def note(tensor: Tensor) -> Tensor:
            storage = storage_of(tensor)
            if storage not in self.weights:
                tensors[storage] = tensor
            return tensor

        return note

    def checkpointed(self, module: Any, *args: Any) -> Any:
        """Stand in for gradient checkpointing of a block.

        A block's inputs are kept. Of what is inside only the largest block counts, since one is
        recomputed at a time.

        Args:
            module: The block.
            *args: Its inputs.

        Returns:
            Its output.
        """
        inside: dict[int, Tensor] = {}
        note = self.into(self.saved)
        for arg in args:
            if isinstance(arg, Tensor):
                note(arg)
        with saved_tensors_hooks(self.into(inside), unchanged):
            out = module(*args)
        extra = 0
        for storage, tensor in inside.items():
            if storage not in self.saved:
                extra += tensor.untyped_storage().nbytes()
        self.largest_block = max(self.largest_block, extra)
        return out

    @property
    def bytes(self) -> int:
        """What is kept at the moment when it is most."""
        saved = sum(tensor.untyped_storage().nbytes() for tensor in self.saved.values())
        return saved + self.largest_block


class FlopCount(TorchDispatchMode):
    """Inside the `with`, the FLOPs of matrix products and convolutions are counted.

    The numbers are those of torch's `FlopCounterMode`, which looks for a decomposition of every
    other operation and takes longer.

    total  FLOPs so far
    """

    total: int = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nothing is compiled here; saying so again for every operation takes time."""
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        out = meta_kernels.run(func, args, kwargs)
        formula = flop_registry.get(func._overloadpacket)
        if formula:
            self.total += formula(*args, **kwargs, out_val=out)
        return out


def activation_bytes(
    model: Model, delta: TrainableDelta, checkpointing: bool
) -> tuple[int, float, float]:
    """Run one row forward and backward, by shapes.

    Args:
        model: A model on the device "meta".
        delta: The trained parameters.
        checkpointing: With gradient checkpointing.

    Returns:
        (bytes that the forward pass keeps for the backward pass, FLOPs forward, FLOPs backward).
    """
    denoiser: Any = model.denoiser
    saved = SavedTensors((*denoiser.parameters(), *delta.trained))
    condition = pick(empty_condition(model), slice(0, 1))
    x = torch.zeros(1, *model.latent_shape, device=model.device, dtype=model.dtype)
    t = torch.full((1,), TIMESTEP, device=model.device)
    # Without a rank the student's weights are new tensors of the shapes of the old ones, which
    # stand for them here.
    stand_ins = []
    if delta.rank is None:
        for name, owner in delta.owners.items():
            stand_ins.append(getattr(owner, name.rpartition(".")[2]))
    if checkpointing:
        denoiser.enable_gradient_checkpointing(saved.checkpointed)
    try:
        for weight in stand_ins:
            weight.requires_grad_(True)
        with flash_attention(), nullcontext() if stand_ins else delta.on():
            with (
                saved_tensors_hooks(saved.into(saved.saved), unchanged),
                FlopCount() as forward,
            ):
                y = model.predict(x, t, condition)
            with FlopCount() as backward:
                y.sum().backward()
    finally:
        for weight in stand_ins:
            weight.grad = None
            weight.requires_grad_(False)
        if checkpointing:
            denoiser.disable_gradient_checkpointing()
    forward_flops = float(forward.total)
    recomputed = forward_flops if checkpointing else 0.0
    return saved.bytes, forward_flops, float(backward.total) + recomputed


def storage_of(tensor: Tensor) -> int:
    """The identity of a tensor's memory, which views of it share.

    Args:
        tensor: On any device, "meta" included.

    Returns:
        The address of its storage, unique as long as the storage lives.
    """
    return tensor.untyped_storage()._cdata


def unchanged(tensor: Tensor) -> Tensor:
    """The tensor itself: what a saved tensor is unpacked to.

    Args:
        tensor: What `SavedTensors.into` returned when the tensor was packed.
    """
    return tensor


class FlashAttention(torch.autograd.Function):
    """Attention by shapes.

    Flash attention keeps q, k, v and its output, and never the attention weights.
    """

    @staticmethod
    def forward(ctx, q, k, v):
        """An output of the right shape, whose values are not computed.

        Args:
            ctx: Context of autograd; keeps q, k, v and the output for the backward pass.
            q: Queries [..., N, d].
            k: Keys [..., M, d].
            v: Values [..., M, e].

        Returns:
            [..., N, e], uninitialised.
        """
        out = q.new_empty(*q.shape[:-1], v.shape[-1])
        ctx.save_for_backward(q, k, v, out)
        return out

    @staticmethod
    def backward(ctx, *gradients):
        """Gradients of the right shapes, whose values are not computed.

        Args:
            ctx: Context of autograd, with the tensors that `forward` kept.
            *gradients: Of the output; not read.

        Returns:
            Of the shapes of q, k and v, uninitialised.
        """
        q, k, v, _ = ctx.saved_tensors
        return torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)


@contextmanager
def flash_attention() -> Iterator[None]:
    """Within, torch's attention is `FlashAttention`."""
    functional: Any = torch.nn.functional
    original = functional.scaled_dot_product_attention

    def attention(query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> Any:
        return FlashAttention.apply(query, key, value)

    functional.scaled_dot_product_attention = attention
    try:
        yield
    finally:
        functional.scaled_dot_product_attention = original
