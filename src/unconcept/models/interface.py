"""The interface of every model: text-to-image and text-to-video diffusion in general."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import torch
from torch import Tensor, nn

from ..concepts.concept import Concept
from .sampling_options import Sampling
from .sites import Site

# What the denoiser is conditioned on besides x_t and t: tensors by name, batch first.
# Always a mapping, never a bare tensor.
Condition = Mapping[str, Tensor]

# Changes the latents between two sampling steps: (x [N, C, H, W], t of the next step [N]) -> x.
LatentChange = Callable[[Tensor, Tensor], Tensor]


class Model(Protocol):
    """A text-to-image or text-to-video model.

    Latents are [N, C, H, W] as the denoiser receives them; images are [N, 3, H, W] in [0, 1].
    Latents of a text-to-video model are [N, C, F, H, W] or [N, F, C, H, W], and clips
    [N, frames, 3, H, W] replace images. N is the batch; t is [N], on the scale of the
    noise schedule.

    family              name of the architecture, such as "stable-diffusion"
    components          the networks by their name in the pipeline: denoiser and text encoders
    denoiser            the network that predicts; one of the components
    timesteps           length of the noise schedule
    samplers            deterministic samplers; the first is used, the second serves as a control
    uses_cfg            does sampling use classifier-free guidance? A guidance-distilled model
                        receives the guidance scale as an input and never predicts ε(∅)
    guidance            default guidance scale
    steps               default number of sampling steps of an image
    remark              what a user must know before erasing from this family, or ""
    timestep_scale      the denoiser receives t / timestep_scale
    start_tokens        tokens in front of a prompt's own: 1 for a start token
    prompt_states_key   entry of a condition that holds token states [N, tokens, width]
    quantized           how the layers that are not trained are quantized, or ""
    vocabulary          words that represent all other prompts; the whitened update's C uses them
    lexicon             further words of its prompts, styles and colors included
    completes           are concepts completed with WordNet's words and lists of styles?
    """

    family: str
    components: Mapping[str, nn.Module]
    denoiser: nn.Module
    timesteps: int
    samplers: tuple[str, ...]
    uses_cfg: bool
    guidance: float
    steps: int
    remark: str
    timestep_scale: float
    start_tokens: int
    prompt_states_key: str
    quantized: str
    vocabulary: tuple[str, ...]
    lexicon: tuple[str, ...]
    completes: bool

    @property
    def denoiser_names(self) -> tuple[str, ...]:
        """Names of the networks that predict: the denoiser, and in some models a second one."""
        ...

    @property
    def device(self) -> torch.device:
        """Device of the denoiser."""
        ...

    @property
    def max_batch(self) -> int:
        """Batch size of the denoiser without gradients: the larger the images, the smaller."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """Data type of the denoiser's weights."""
        ...

    def component_name(self, module: nn.Module) -> str:
        """Name of a component as edits write it ("unet").

        Args:
            module: One of `components`.
        """
        ...

    def complete(self, concepts: Sequence[Concept]) -> tuple[Concept, ...]:
        """Add what the model knows about concepts that are erased in one run.

        Synonyms, members of a category, neighbors that stay and prompt templates are added. The
        embedded models know their own words; every other model asks the lexicon
        (`concepts.completion`). What the caller set is left as it is, and completing twice changes
        nothing.

        Args:
            concepts: All concepts of the run: a template of one must not name another.

        Returns:
            The completed concepts, in the same order.

        Raises:
            InputError: An alternative turns out to be the concept itself, such as a member of the
                erased category.
        """
        ...

    def encode(self, prompts: Sequence[str]) -> Condition:
        """Encode prompts, without gradients.

        Args:
            prompts: N prompts; "" is the empty prompt ∅.

        Returns:
            The condition of each prompt, N rows.
        """
        ...

    def embed(self, prompts: Sequence[str]) -> tuple[Condition, Condition]:
        """Look up the token embeddings of prompts: the input of the text encoders.

        Args:
            prompts: N prompts.

        Returns:
            (vectors, ids): by the text encoder's name in `components`, the token embeddings
            [N, tokens, width], before positions are added, and the token ids [N, tokens].

        Raises:
            InputError: The family does not give access to its text encoder's input.
        """
        ...

    def encode_from(self, vectors: Condition, ids: Condition) -> Condition:
        """Encode token embeddings, with gradients from the condition to `vectors`.

        `encode_from(*embed(prompts))` is `encode(prompts)`.

        Args:
            vectors: Token embeddings by text encoder, as `embed` returns them, or changed ones.
            ids: Token ids by text encoder; they tell where a prompt ends.

        Returns:
            The condition, N rows.

        Raises:
            InputError: The family does not give access to its text encoder's input.
        """
        ...

    def linear_input(self, name: str, condition: Condition) -> Tensor:
        """Compute the input of a matrix from the prompt alone.

        Args:
            name: `Site.reads` of the matrix.
            condition: N encoded prompts.

        Returns:
            [N, tokens, width]: token states, or what the denoiser first computes from them.
        """
        ...

    def text_encoders_on(self, device: torch.device) -> AbstractContextManager:
        """Move the text encoders to a device inside a `with`; the denoiser stays where it is.

        Args:
            device: Where prompts are encoded meanwhile; on the CPU they leave GPU memory free.
        """
        ...

    def truncated_text(self, prompt: str) -> str:
        """The part of a prompt that the text encoder does not read, or "".

        Args:
            prompt: A prompt of any length.
        """
        ...

    def last_token_index(self, prompts: Sequence[str]) -> Tensor:
        """Position of each prompt's last token among its token states.

        Args:
            prompts: N prompts.

        Returns:
            Indices [N]; for the empty prompt, the start token's.
        """
        ...

    def text_layer(self) -> str:
        """Name of the text encoder's layer at about two thirds of its depth.

        Returns:
            The module whose output is the residual stream there, "text_encoder.….layers.8".

        Raises:
            InputError: The model has several text encoders, or a language model.
        """
        ...

    def text_hidden_states(self, prompts: Sequence[str]) -> Tensor:
        """Output of `text_layer`.

        Args:
            prompts: N prompts.

        Returns:
            Hidden states [N, tokens, width] in single precision.
        """
        ...

    def add_noise(self, x: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Mix noise into clean latents.

        Args:
            x: Clean latents [N, C, H, W].
            noise: Standard normal noise [N, C, H, W].
            t: Timesteps [N].

        Returns:
            x_t [N, C, H, W].
        """
        ...

    def target(self, x: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """What the denoiser should predict for `add_noise(x, noise, t)`.

        Args:
            x: Clean latents [N, C, H, W].
            noise: Standard normal noise [N, C, H, W].
            t: Timesteps [N].

        Returns:
            The noise, velocity or flow [N, C, H, W].
        """
        ...

    def predict(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """Native prediction of the denoiser: noise, velocity or flow.

        Args:
            x: Noisy latents [N, C, H, W].
            t: Timesteps [N].
            condition: N encoded prompts.

        Returns:
            The prediction [N, C, H, W].
        """
        ...

    def weight(self, t: Tensor) -> Tensor:
        """Factor that turns a squared error of the native prediction into one of the noise.

        Args:
            t: Timesteps [N].

        Returns:
            Factors [N].
        """
        ...

    def weight_group(self, name: str) -> tuple[Site, ...]:
        """The tensors of a weight group.

        Args:
            name: Such as "cross-attention keys and values".

        Raises:
            InputError: The group is unknown, or empty in this model.
        """
        ...

    def trajectory(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        sampling: Sampling = ...,
        *,
        latents: Tensor | None = None,
        skip: int = 0,
        change: LatentChange | None = None,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Sample step by step with a deterministic sampler.

        Conditions and weights are read anew at every step: an edit may be put on and taken off
        between two steps.

        Args:
            prompts: N prompts.
            seeds: N seeds of the initial noise; not read where `latents` are given.
            sampling: Steps, guidance and sampler.
            latents: Start from these [N, C, H, W] instead of noise.
            skip: Start after this many of the steps.
            change: Applied to the latents after each step: (x, t of the next step) -> x. The last
                call receives t = -1. Inpainting and noise injection work this way.

        Yields:
            (x_t, t) before each step, and finally the finished latents with t = -1.
        """
        ...

    def sample(
        self, prompts: Sequence[str], seeds: Sequence[int], sampling: Sampling = ...
    ) -> Tensor:
        """The finished latents of a trajectory.

        Args:
            prompts: N prompts.
            seeds: N seeds of the initial noise.
            sampling: Steps, guidance and sampler.

        Returns:
            Latents [N, C, H, W].
        """
        ...

    def cross_attentions(self) -> dict[str, int]:
        """The cross-attention modules from image to prompt.

        Returns:
            Width of each module's output by its name ("unet.….attn2").

        Raises:
            InputError: Image and prompt share one attention in this model.
        """
        ...

    def attention(
        self, x: Tensor, t: Tensor, condition: Condition, tokens: Sequence[int]
    ) -> dict[str, Tensor]:
        """Cross-attention maps from each place of the image to some tokens of the prompt.

        Args:
            x: Noisy latents [N, C, H, W].
            t: Timesteps [N].
            condition: N encoded prompts.
            tokens: Positions of the tokens.

        Returns:
            By module [N, h, w] in [0, 1], of clips [N, frames, h, w]: mean over heads and sum
            over tokens.

        Raises:
            InputError: Image and prompt share one attention in this model.
        """
        ...

    def invert(self, latents: Tensor, prompts: Sequence[str], *, steps: int, upto: int) -> Tensor:
        """DDIM inversion without guidance (Song et al. 2021, arXiv 2010.02502).

        Args:
            latents: Clean latents [N, C, H, W].
            prompts: N prompts that describe them.
            steps: Sampling steps of the whole trajectory.
            upto: How many of them are inverted, 1 to `steps`.

        Returns:
            Noisy latents [N, C, H, W] from which `trajectory(..., latents=, skip=steps - upto)`
            continues.
        """
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """Decode latents to images.

        Args:
            latents: [N, C, H, W].

        Returns:
            Images [N, 3, height, width] in [0, 1].
        """
        ...

    def latents(self, images: Tensor) -> Tensor:
        """Encode images to latents: the mean of the autoencoder's distribution.

        Args:
            images: [N, 3, height, width] in [0, 1].

        Returns:
            Latents [N, C, H, W].
        """
        ...

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Shape of the latents of one image or clip, as the denoiser receives them.

        (channels, height, width); of a clip (channels, frames, height, width) or (frames,
        channels, height, width).
        """
        ...

    @property
    def frames(self) -> int:
        """Frames of a clip; 0 for images."""
        ...

    @property
    def vae_bytes(self) -> int:
        """Bytes of the autoencoder's weights."""
        ...

    @property
    def image_size(self) -> int:
        """Height in pixels of the images or frames that are sampled; images are square."""
        ...

    @property
    def image_shape(self) -> tuple[int, int]:
        """Height and width, in pixels, of the images or frames that are sampled."""
        ...

    def fingerprint(self) -> str:
        """sha256 of the components' weights rounded to bfloat16, the same in every precision.

        An edit belongs to the model with this fingerprint.
        """
        ...

    def image_cache_key(self) -> str:
        """Hash of all that images depend on besides prompt and sampling.

        Fingerprint, autoencoder, scheduler, size, device and precision.
        """
        ...
