"""What one row costs, from shapes alone: the bytes that its forward pass keeps for the way back, and the FLOPs of both."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from ..models.conditioning import pick
from ..models.interface import Model
from ..training.trainable_delta import TrainableDelta


def activation_bytes(model: Model, change: TrainableDelta, checkpointing: bool) -> tuple[int, float, float]:
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
