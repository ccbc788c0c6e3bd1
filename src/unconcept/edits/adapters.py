"""Small modules that an edit may hold besides changed tensors.

y = E(f(x))         f: the model's own module at a site, unchanged;  E: the adapter
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from .guidance_adapters import NegativePrompt, SafeGuidance


class Eraser(nn.Module):
    """y + s · (W2 GELU(W1 y + b1) + b2), the residual perceptron of Receler (Huang et al. 2024).

    W2 and b2 begin at 0: nothing is changed. `added` is what the last forward pass added, while it
    has gradients.

    Args:
        width: Of y [N, tokens, width].
        rank: Hidden units.
    """

    kind = "eraser"
    strength: Tensor

    def __init__(self, width: int, rank: int = 128):
        super().__init__()
        self.down = nn.Linear(width, rank)
        self.up = nn.Linear(rank, width)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)
        self.register_buffer("strength", torch.ones(()))
        self.added: Tensor | None = None

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> "Eraser":
        """An eraser from its state dict.

        Args:
            tensors: down.weight [rank, width], down.bias [rank], up.weight [width, rank], up.bias
                [width] and strength []; copied.
        """
        rank, width = tensors["down.weight"].shape
        eraser = cls(width, rank)
        copies = {name: tensor.detach().clone() for name, tensor in tensors.items()}
        eraser.load_state_dict(copies)
        return eraser

    def forward(self, y: Tensor) -> Tensor:
        """Add the perceptron's output.

        Args:
            y: What the module at the site returns [N, tokens, width].

        Returns:
            y + s · (W2 GELU(W1 y + b1) + b2), in y's precision.
        """
        added = self.up(gelu(self.down(y.to(self.down.weight.dtype)))).to(y)
        self.added = added if added.requires_grad else None
        return y + self.strength * added


class SparseAutoencoder(nn.Module):
    """h ← h + s · W_d (z' − z) where a prompt has the concept's features, else h.

    The equations are in methods/sae.py. h [N, tokens, width], z [N, tokens, n]. The first token,
    which is the same in every prompt, is never changed.

    Args:
        tensors: The state dict.
    """

    kind = "sparse-autoencoder"

    encoder: Tensor  # W_e [n, width]
    latent: Tensor  # β [n]
    decoder: Tensor  # W_d [width, n], columns of length 1
    centre: Tensor  # b [width]
    active: Tensor  # k
    features: Tensor  # F, indices
    scale: Tensor  # −τ
    threshold: Tensor  # θ
    strength: Tensor

    def __init__(self, tensors: Mapping[str, Tensor]):
        super().__init__()
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor.detach().clone())

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> "SparseAutoencoder":
        """An autoencoder from its state dict.

        Args:
            tensors: One for each tensor that the class declares, by its name; copied.
        """
        return cls(tensors)

    @classmethod
    def begin(cls, h: Tensor, n: int, k: int, generator: torch.Generator) -> "SparseAutoencoder":
        """An untrained autoencoder: random directions, encoder and decoder tied.

        Args:
            h: Hidden states [N, width]; b is their median by coordinate.
            n: Number of features.
            k: Largest number of active features of a token.
            generator: Draws the directions.

        Returns:
            The autoencoder, without features to change.
        """
        decoder = torch.randn(h.shape[1], n, generator=generator)
        decoder = decoder / decoder.norm(dim=0, keepdim=True)
        return cls(
            {
                "encoder": decoder.T.contiguous(),
                "latent": torch.zeros(n),
                "decoder": decoder,
                "centre": h.median(0).values,
                "active": torch.tensor(k),
                "features": torch.zeros(0, dtype=torch.long),
                "scale": torch.tensor(1.0),
                "threshold": torch.tensor(torch.inf),
                "strength": torch.ones(()),
            }
        )

    def preactivations(self, h: Tensor) -> Tensor:
        """W_e (h − b) + β  [..., n]

        Args:
            h: Hidden states [..., width] in the weights' precision.
        """
        return (h - self.centre) @ self.encoder.T + self.latent

    def sparse(self, preactivations: Tensor) -> Tensor:
        """ReLU(TopK): the k largest of the last dimension, where they are above 0.

        Args:
            preactivations: [..., n]

        Returns:
            z [..., n], at most k of them in the last dimension above 0, the others 0.
        """
        values, where = preactivations.topk(int(self.active), dim=-1)
        return torch.zeros_like(preactivations).scatter(-1, where, values.relu())

    def features_of(self, h: Tensor) -> Tensor:
        """z [..., n] of hidden states [..., width]

        Args:
            h: In the weights' precision.
        """
        return self.sparse(self.preactivations(h))

    def decode(self, z: Tensor) -> Tensor:
        """W_d z + b  [..., width]

        Args:
            z: Features [..., n].
        """
        return z @ self.decoder.T + self.centre

    def change(self, h: Tensor) -> Tensor:
        """How the hidden states change where the gate is open: W_d (z' − z).

        Args:
            h: Hidden states [N, tokens, width].

        Returns:
            [N, tokens, width]; 0 at the first token.
        """
        z = self.features_of(h)[..., self.features]
        change = ((self.scale - 1) * z) @ self.decoder[:, self.features].T
        change[:, 0] = 0
        return change

    def score(self, h: Tensor) -> Tensor:
        """How much of the concept each prompt has.

        Args:
            h: Hidden states [N, tokens, width].

        Returns:
            Mean square of the change over those tokens that would be changed [N].
        """
        change = self.change(h)
        changed = change.abs().amax(2) > 0
        return change.square().mean(2).sum(1) / changed.sum(1).clamp(min=1)

    def forward(self, h: Tensor) -> Tensor:
        """Change the prompts whose score reaches θ, and no others.

        Args:
            h: Hidden states [N, tokens, width] in any precision.

        Returns:
            [N, tokens, width] in h's precision; rows below the threshold to the bit as they were.
        """
        change = self.change(h.float())
        score = self.score(h.float())
        gate = (score >= self.threshold) & (score > 0)
        return torch.where(gate[:, None, None], h + self.strength * change.to(h), h)


KINDS: dict[str, type] = {
    adapter.kind: adapter for adapter in (Eraser, SparseAutoencoder, NegativePrompt, SafeGuidance)
}


def build_adapter(kind: str, tensors: Mapping[str, Tensor]) -> Any:
    """An adapter for an edit: on the CPU, in evaluation mode, without gradients.

    Args:
        kind: A key of `KINDS`.
        tensors: The adapter's state dict; copied.

    Returns:
        The adapter.
    """
    on_cpu = {name: tensor.cpu() for name, tensor in tensors.items()}
    return KINDS[kind].of(on_cpu).eval().requires_grad_(False)
