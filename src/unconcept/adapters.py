"""Small modules that an Edit may hold besides changed tensors: they sit behind a module of the model and change what comes out of it.

y = E(f(x))         f: the model's own module at a site, untouched;  E: the adapter
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu


class Eraser(nn.Module):
    """y + s · (W2 GELU(W1 y + b1) + b2), the residual perceptron of Receler (Huang et al. 2024, §3.2); W2 and b2 begin at 0: nothing is changed.

    y [N, tokens, width]. `added` is what it last added, for losses that ask where.
    """

    kind = "eraser"
    strength: Tensor

    def __init__(self, width: int, rank: int = 128):
        super().__init__()
        self.down, self.up = nn.Linear(width, rank), nn.Linear(rank, width)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)
        self.register_buffer("strength", torch.ones(()))
        self.added: Tensor | None = None

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> "Eraser":
        rank, width = tensors["down.weight"].shape
        eraser = cls(width, rank)
        eraser.load_state_dict({name: tensor.detach().clone() for name, tensor in tensors.items()})
        return eraser

    def forward(self, y: Tensor) -> Tensor:
        added = self.up(gelu(self.down(y.to(self.down.weight.dtype)))).to(y)
        self.added = added if added.requires_grad else None
        return y + self.strength * added


KINDS: dict[str, type] = {Eraser.kind: Eraser}


def frozen(kind: str, tensors: Mapping[str, Tensor]) -> Any:
    """An adapter of a kind, with copies of these tensors, not to be trained any more."""
    return KINDS[kind].of(tensors).eval().requires_grad_(False)


@contextmanager
def hooked(components: Mapping[str, nn.Module], adapters: Mapping[str, nn.Module]) -> Iterator[None]:
    """Inside: each adapter works on the output of the module at its site ("unet.path.to.module"). Outside: nothing is left of it."""
    handles = [hook(components, site, adapter) for site, adapter in adapters.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def hook(components: Mapping[str, nn.Module], site: str, adapter: nn.Module):
    """Put an adapter behind the module at `site`; the handle takes it off. A tuple's first entry is what is changed."""
    component, _, path = site.partition(".")

    def behind(module: nn.Module, given: tuple, output):
        if isinstance(output, tuple):
            return (adapter(output[0]), *output[1:])
        return adapter(output)

    return components[component].get_submodule(path).register_forward_hook(behind)
