"""What every model family looks like from outside: a few words about text-to-image diffusion, and none about a family."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

Condition = Mapping[str, Tensor]
"""What the denoiser is told besides x_t and t: tensors by name, batch first. Always a mapping, never a bare tensor."""

Watch = Callable[[int, Tensor, Tensor], None]
"""Called at every sampling step with (step, x_t, t)."""


@dataclass(frozen=True)
class Site:
    """One tensor that an edit may change: `component.path.of.the.module.parameter`."""

    name: str
    reads: str  # the entry of the condition that the matrix multiplies, or "" when it reads pictures

    def find(self, components: Mapping[str, nn.Module]) -> tuple[nn.Module, str]:
        """The module that owns the tensor, and the tensor's name in it."""
        component, _, path = self.name.partition(".")
        owner, _, parameter = path.rpartition(".")
        return components[component].get_submodule(owner), parameter


class Model(Protocol):
    """A text-to-image model. Latents are [N, C, H, W] as the denoiser sees them; pictures are [N, 3, H, W] in [0, 1]."""

    family: str
    components: Mapping[str, nn.Module]
    denoiser: nn.Module
    vocabulary: tuple[str, ...]  # words that stand for everything else; C of the whitened update is made of them

    def encode(self, prompts: Sequence[str]) -> Condition:
        """The condition of each prompt; "" is the empty prompt ∅."""
        ...

    def overflow(self, prompt: str) -> str:
        """What of `prompt` the text encoder does not see; "" when all of it fits."""
        ...

    def predict(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """The native output (noise, velocity or flow) at x [N, C, H, W] and t [N]."""
        ...

    def weight(self, t: Tensor) -> Tensor:
        """Factor [N] that turns a squared error of the native output into one of the noise."""
        ...

    def group(self, name: str) -> tuple[Site, ...]:
        """The tensors of a weight group; an unknown or empty group is an InputError."""
        ...

    def sample(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        *,
        steps: int,
        guidance: float,
        sampler: str = "ddim",
        watch: Watch | None = None,
    ) -> Tensor:
        """Latents of one picture per (prompt, seed), by a deterministic sampler."""
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """Pictures of latents."""
        ...

    def fingerprint(self) -> str:
        """sha256 over the components' weights: an edit belongs to one fingerprint."""
        ...


def pick(condition: Condition, index: Tensor | slice) -> Condition:
    """Rows of a condition."""
    return {name: value[index] for name, value in condition.items()}


def join(*conditions: Condition) -> Condition:
    """Conditions one after the other in a batch."""
    return {name: torch.cat([condition[name] for condition in conditions]) for name in conditions[0]}
