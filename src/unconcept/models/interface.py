"""What every model family looks like from outside: a few words about text-to-image diffusion, and none about a family."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from ..concepts.concept import Concept

Condition = Mapping[str, Tensor]

"""What the denoiser is told besides x_t and t: tensors by name, batch first. Always a mapping, never a bare tensor."""


@dataclass(frozen=True)
class Site:
    """One tensor that an edit may change: `component.path.of.the.module.parameter`."""

    name: str
    reads: str  # what the matrix multiplies, by its name in `Model.reading`, where that depends on the prompt alone; else ""

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
    timesteps: int  # of the noise schedule
    samplers: tuple[str, ...]  # deterministic ones; the first is the one that is used, the second a control
    uses_cfg: bool  # do its samplers make guidance of ε(c) and ε(∅)? A distilled model is told its guidance, and never asked for ε(∅)
    guidance: float  # that its pictures are made with where nothing is said
    remark: str  # what a user must know about erasing from this family; "" for nothing
    timestep_scale: float  # the denoiser itself is told t / timestep_scale
    prompt_states_key: str  # the entry of a condition that holds token states [N, tokens, width]
    quantized: str  # how the layers that are not tuned are held, where not as they are
    vocabulary: tuple[str, ...]  # words that stand for everything else; C of the whitened update is made of them
    lexicon: tuple[str, ...]  # other words of its prompts, styles and colours among them: an autoencoder of them is trained on both

    @property
    def device(self) -> torch.device:
        """Where the denoiser is."""
        ...

    @property
    def max_batch(self) -> int:
        """How many go through the denoiser at once where nothing is trained: the fewer, the larger its pictures are."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """Of the denoiser's weights."""
        ...

    def component_name(self, module: nn.Module) -> str:
        """The name of a component, as edits say it ("unet")."""
        ...

    def complete(self, concepts: Sequence[Concept]) -> tuple[Concept, ...]:
        """Add what the model knows about concepts that are erased in one run.

        The embedded models add synonyms, members of a category, neighbors that stay and prompt templates; every other model
        returns the concepts as they are. What the caller set is left as it is, and completing twice changes nothing.

        Args:
            concepts: All concepts of the run: a template of one must not name another.

        Returns:
            The completed concepts, in the same order.

        Raises:
            InputError: An alternative turns out to be the concept itself, such as a member of the erased category.
        """
        ...

    def encode(self, prompts: Sequence[str]) -> Condition:
        """The condition of each prompt; "" is the empty prompt ∅."""
        ...

    def linear_input(self, name: str, condition: Condition) -> Tensor:
        """What a matrix of a `Site` multiplies [N, tokens, width]: token states, or what the denoiser makes of them before anything else."""
        ...

    def text_encoders_on(self, device: torch.device) -> AbstractContextManager:
        """Inside, what reads prompts is on that device, and the denoiser stays where it is: a card has more room then."""
        ...

    def truncated_text(self, prompt: str) -> str:
        """What of `prompt` the text encoder does not see; "" when all of it fits."""
        ...

    def last_token_index(self, prompts: Sequence[str]) -> Tensor:
        """Where the last token of each prompt stands in its token states [N]; of the empty prompt, the start token."""
        ...

    def text_layer(self) -> str:
        """The module whose output is the text encoder's residual stream at about two thirds of its depth ("text_encoder.….layers.8")."""
        ...

    def text_hidden_states(self, prompts: Sequence[str]) -> Tensor:
        """What comes out of `text_layer` [N, tokens, width]."""
        ...

    def add_noise(self, x: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Clean latents x with noise [N, C, H, W] mixed in up to t [N]."""
        ...

    def predict(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """The native output (noise, velocity or flow) at x [N, C, H, W] and t [N]."""
        ...

    def weight(self, t: Tensor) -> Tensor:
        """Factor [N] that turns a squared error of the native output into one of the noise."""
        ...

    def weight_group(self, name: str) -> tuple[Site, ...]:
        """The tensors of a weight group; an unknown or empty group is an InputError."""
        ...

    def trajectory(
        self, prompts: Sequence[str], seeds: Sequence[int], *, steps: int, guidance: float, sampler: str | None = None,
        latents: Tensor | None = None, skip: int = 0,
    ) -> Iterator[tuple[Tensor, Tensor]]:  # fmt: skip
        """(x_t, t) at each of the `steps` of a deterministic sampler, one row per (prompt, seed); at last the finished latents, at t = -1.

        latents: go on from these, behind the first `skip` steps, instead of from the seeds' noise.
        What the model is told and what it weighs is looked up at every step: an edit may be put on and taken off in between.
        """
        ...

    def cross_attentions(self) -> dict[str, int]:
        """The modules in which pictures read the prompt, by site ("unet.….attn2"), and how wide their output is."""
        ...

    def attention(self, x: Tensor, t: Tensor, condition: Condition, tokens: Sequence[int]) -> dict[str, Tensor]:
        """How much each place looks at the `tokens` of the prompt: by cross-attention [N, h, w] in [0, 1], mean over heads, sum over tokens."""
        ...

    def sample(self, prompts: Sequence[str], seeds: Sequence[int], *, steps: int, guidance: float, sampler: str | None = None) -> Tensor:
        """The finished latents of a trajectory."""
        ...

    def invert(self, latents: Tensor, prompts: Sequence[str], *, steps: int, upto: int) -> Tensor:
        """DDIM inversion without guidance (Song et al. 2021): clean latents back along the first `upto` of
        `steps`, to where `trajectory(..., latents=, skip=steps - upto)` goes on."""
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """Pictures of latents."""
        ...

    def latents(self, pictures: Tensor) -> Tensor:
        """Latents of pictures [N, 3, H, W] in [0, 1]: the mean of what the autoencoder says."""
        ...

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of the latents that it is made for."""
        ...

    @property
    def vae_bytes(self) -> int:
        """Bytes of the autoencoder's weights."""
        ...

    @property
    def image_size(self) -> int:
        """Height and width of the pictures that it is made for."""
        ...

    def fingerprint(self) -> str:
        """sha256 over the components' weights, rounded to bfloat16: the same for one model in several precisions. An edit belongs to one."""
        ...

    def image_cache_key(self) -> str:
        """What its pictures depend on: the fingerprint, the autoencoder, the scheduler's settings, their size, the device and the precision."""
        ...
