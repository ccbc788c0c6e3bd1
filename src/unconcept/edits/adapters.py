"""Small modules that an Edit may hold besides changed tensors: they sit behind a module of the model and change what comes out of it.

y = E(f(x))         f: the model's own module at a site, untouched;  E: the adapter
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from .guidance_adapters import NegativePrompt, SafeGuidance


class Eraser(nn.Module):
    """y + s · (W2 GELU(W1 y + b1) + b2), the residual perceptron of Receler (Huang et al. 2024); W2 and b2 begin at 0: nothing is changed.

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


class SparseAutoencoder(nn.Module):
    """h ← h + s · W_d (z' − z) where a prompt has the features, else h; the equations are in methods/sae.py.

    h [N, tokens, width], z [N, tokens, n]. The first token, which begins every prompt alike, is never changed.
    """

    kind = "sparse-autoencoder"

    def __init__(self, tensors: Mapping[str, Tensor]):
        super().__init__()
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor.detach().clone())

    encoder: Tensor  # W_e [n, width]
    latent: Tensor  # β [n]
    decoder: Tensor  # W_d [width, n], columns of length 1
    centre: Tensor  # b [width]
    active: Tensor  # k
    features: Tensor  # F, indices
    scale: Tensor  # −τ
    threshold: Tensor  # θ
    strength: Tensor

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> "SparseAutoencoder":
        return cls(tensors)

    @classmethod
    def begin(cls, h: Tensor, n: int, k: int, generator: torch.Generator) -> "SparseAutoencoder":
        """Random directions, encoder and decoder tied; b is the median of h [N, width] by coordinate."""
        decoder = torch.randn(h.shape[1], n, generator=generator)
        decoder = decoder / decoder.norm(dim=0, keepdim=True)
        tensors = {"encoder": decoder.T.contiguous(), "latent": torch.zeros(n), "decoder": decoder, "centre": h.median(0).values}
        rest = {"active": torch.tensor(k), "features": torch.zeros(0, dtype=torch.long), "scale": torch.tensor(1.0)}
        return cls({**tensors, **rest, "threshold": torch.tensor(torch.inf), "strength": torch.ones(())})

    def before(self, h: Tensor) -> Tensor:
        return (h - self.centre) @ self.encoder.T + self.latent

    def sparse(self, before: Tensor) -> Tensor:
        """ReLU(TopK): the k largest of the last dimension, where above 0."""
        values, where = before.topk(int(self.active), dim=-1)
        return torch.zeros_like(before).scatter(-1, where, values.relu())

    def decode(self, z: Tensor) -> Tensor:
        return z @ self.decoder.T + self.centre

    def change(self, h: Tensor) -> Tensor:
        """W_d (z' − z) [N, tokens, width]; 0 at the first token."""
        z = self.sparse(self.before(h))[..., self.features]
        change = ((self.scale - 1) * z) @ self.decoder[:, self.features].T
        change[:, 0] = 0
        return change

    def score(self, h: Tensor) -> Tensor:
        """How much of the concept a prompt has [N]: the mean square of what would be changed at its tokens that are changed at all."""
        change = self.change(h)
        hit = change.abs().amax(2) > 0
        return change.square().mean(2).sum(1) / hit.sum(1).clamp(min=1)

    def forward(self, h: Tensor) -> Tensor:
        change = self.change(h.float())
        score = self.score(h.float())
        gate = (score >= self.threshold) & (score > 0)
        return torch.where(gate[:, None, None], h + self.strength * change.to(h), h)


KINDS: dict[str, type] = {adapter.kind: adapter for adapter in (Eraser, SparseAutoencoder, NegativePrompt, SafeGuidance)}


def build_adapter(kind: str, tensors: Mapping[str, Tensor]) -> Any:
    """An adapter of a kind, with copies of these tensors in the host's memory, not to be trained any more."""
    return KINDS[kind].of({name: tensor.cpu() for name, tensor in tensors.items()}).eval().requires_grad_(False)
