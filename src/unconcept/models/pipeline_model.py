"""What every family shares: a diffusers pipeline, sampled step by step with or without an edit."""

import hashlib
import inspect
import json
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..concepts.completion import complete
from ..concepts.concept import Concept
from ..errors import InputError, RunError
from .conditioning import join
from .consistency import (
    check_channels,
    check_present,
    check_size,
    check_tokenizers,
    check_widths,
    latent_side,
)
from .interface import Condition, LatentChange, Sampling, Site

log = logging.getLogger(__name__)

# [N, tokens, width]: the entry of a condition that holds token states, named as in diffusers.
STATES = "encoder_hidden_states"

# Is a parameter of the denoiser, named by its path, in a weight group?
PathTest = Callable[[str], bool]

DEFAULT_SAMPLING = Sampling()


class PipelineModel(ABC):
    """The `Model` around a diffusers pipeline, except for what differs between families.

    The pipeline is used as it is: its modules are put into evaluation mode without gradients, and
    nothing else is changed.

    A family defines what is abstract here, a static method `fits`, and these:

    network     the pipeline's component that denoises
    encoders    its text encoders
    groups      weight group -> is a parameter of the denoiser in it?
    readers     name for `linear_input` -> which parameters multiply that input?
    schedulers  deterministic schedulers by the name of the sampler; the family's own comes first
    """

    family: str
    network: ClassVar[str]
    encoders: ClassVar[tuple[str, ...]]
    groups: ClassVar[Mapping[str, PathTest]]
    readers: ClassVar[Mapping[str, PathTest]]
    schedulers: ClassVar[Mapping[str, type]]
    # channels of the denoiser's input and prediction for each channel of the latents
    channels_per_latent: ClassVar[tuple[int, int]] = (1, 1)
    prompt_states_key: str = STATES
    uses_cfg: bool = True
    remark: str = ""
    timestep_scale: float = 1.0
    scheduler: Any
    timesteps: int
    guidance: float
    quantized: str = ""
    base_sha256: str | None = None  # fingerprint of the weights before they were quantized
    completes: bool = False  # with the lexicon, see `complete`
    start_tokens: int = 1
    offloaded_to: torch.device | None = None  # where weights in CPU memory compute (`offloading`)
    frames: Any = 0  # of a clip; text-to-video families have a property

    def __init__(self, pipe: Any, vocabulary: tuple[str, ...]):
        """Wrap a pipeline.

        Args:
            pipe: A diffusers pipeline for which `fits` is true.
            vocabulary: Words that represent all other prompts.
        """
        check_present(pipe, (self.network, self.encoders[0], "tokenizer", "vae", "scheduler"))
        check_channels(pipe, self.network, self.channels_per_latent)
        check_tokenizers(pipe, self.encoders)
        check_widths(pipe, self.network, self.widths_read(pipe))
        check_size(pipe, self.network)
        self.pipe = pipe
        self.vocabulary = vocabulary
        self.lexicon = whole_words(pipe.tokenizer)
        components: dict[str, nn.Module] = {}
        for name in (self.network, *self.encoders):
            component = getattr(pipe, name)
            if component is not None:
                components[name] = getattr(component, "_orig_mod", component)  # torch.compile
        self.components: Mapping[str, nn.Module] = components
        self.denoiser: Any = components[self.network]
        self.samplers = tuple(self.schedulers)
        self.guidance = self.usual_guidance()
        for module in (*self.components.values(), pipe.vae):
            module.eval().requires_grad_(False)

    @property
    def denoiser_names(self) -> tuple[str, ...]:
        return (self.network,)

    @classmethod
    def widths_read(cls, pipe: Any) -> dict[str, int]:
        """Widths of what the text encoders put out, by the denoiser's setting that must be equal.

        Args:
            pipe: A pipeline of the family.

        Returns:
            Such as {"cross_attention_dim": 768}; empty where the family is not checked.
        """
        return {}

    def usual_guidance(self, parameter: str = "guidance_scale") -> float:
        """The pipeline's default guidance scale.

        Args:
            parameter: What the pipeline's `__call__` calls it.
        """
        return float(inspect.signature(type(self.pipe).__call__).parameters[parameter].default)

    @property
    def device(self) -> torch.device:
        return self.offloaded_to or self.denoiser.device

    @property
    def dtype(self) -> torch.dtype:
        return self.denoiser.dtype

    def component_name(self, module: nn.Module) -> str:
        return next(name for name, part in self.components.items() if part is module)

    def complete(self, concepts: Sequence[Concept]) -> tuple[Concept, ...]:
        """Complete concepts with the lexicon, unless the caller chose the vocabulary (`wrap`).

        Args:
            concepts: All concepts of one run; see `Model.complete`.
        """
        return complete(concepts, self.vocabulary) if self.completes else tuple(concepts)

    @abstractmethod
    def encode(self, prompts: Sequence[str]) -> Condition: ...

    @abstractmethod
    def add_noise(self, x: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Mix noise into clean latents, by the family's noise schedule.

        Args:
            x: Clean latents [N, C, H, W].
            noise: Standard normal noise n [N, C, H, W].
            t: Timesteps [N].

        Returns:
            x_t [N, C, H, W].
        """

    @abstractmethod
    def target(self, x: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """What the denoiser should predict for `add_noise(x, noise, t)`.

        Args:
            x: Clean latents [N, C, H, W].
            noise: Standard normal noise n [N, C, H, W].
            t: Timesteps [N].

        Returns:
            The noise, velocity or flow [N, C, H, W].
        """

    @abstractmethod
    def predict(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """Native prediction of the denoiser: noise, velocity or flow.

        Args:
            x: Noisy latents [N, C, H, W].
            t: Timesteps [N].
            condition: N encoded prompts.

        Returns:
            The prediction [N, C, H, W].
        """

    @abstractmethod
    def weight(self, t: Tensor) -> Tensor: ...

    @abstractmethod
    def invert(self, latents: Tensor, prompts: Sequence[str], *, steps: int, upto: int) -> Tensor:
        """Run the sampler backwards, without guidance.

        Args:
            latents: Clean latents x_0 [N, C, H, W].
            prompts: N prompts that describe them.
            steps: Sampling steps of the whole trajectory.
            upto: How many of them are inverted, 1 to `steps`.

        Returns:
            Noisy latents [N, C, H, W] from which `trajectory(..., skip=steps - upto)` continues.
        """

    @abstractmethod
    def cross_attentions(self) -> dict[str, int]: ...

    @abstractmethod
    def attention(
        self, x: Tensor, t: Tensor, condition: Condition, tokens: Sequence[int]
    ) -> dict[str, Tensor]:
        """Cross-attention maps from each place of the image to some tokens of the prompt.

        Args:
            x: Noisy latents [N, C, H, W].
            t: Timesteps [N].
            condition: N encoded prompts.
            tokens: Positions of the tokens among the token states.

        Returns:
            By module [N, h, w] in [0, 1], mean over heads and sum over tokens.

        Raises:
            InputError: Image and prompt share one attention in this family.
        """

    def tokenize(self, prompts: Sequence[str]) -> Condition:
        """Token ids [N, tokens] by text encoder, padded as the pipeline pads them."""
        raise InputError(f"{self.family} does not give access to its text encoder's input")

    def encode_from(self, vectors: Condition, ids: Condition) -> Condition:
        """Encode token embeddings, in families that give access to them.

        Args:
            vectors: Token embeddings by text encoder [N, tokens, width], before positions are
                added.
            ids: Token ids by text encoder [N, tokens]; they tell where a prompt ends.

        Returns:
            The condition, N rows, with gradients to `vectors`.

        Raises:
            InputError: The family does not give access to its text encoder's input.
        """
        raise InputError(f"{self.family} does not give access to its text encoder's input")

    @torch.no_grad()
    def embed(self, prompts: Sequence[str]) -> tuple[Condition, Condition]:
        ids = self.tokenize(prompts)
        vectors = {}
        for name, tokens in ids.items():
            encoder: Any = self.components[name]
            vectors[name] = encoder.get_input_embeddings()(tokens)
        return vectors, ids

    def linear_input(self, name: str, condition: Condition) -> Tensor:
        """The entry of a condition that a matrix multiplies as it comes.

        Args:
            name: `Site.reads` of the matrix.
            condition: N encoded prompts.

        Returns:
            [N, tokens, width], or [N, width] for a pooled state.
        """
        return condition[name]

    def text_layer(self) -> str:
        """The ninth of CLIP's 12 layers, as in Interpret then Deactivate (arXiv 2503.09446).

        With another number of layers the one at the same depth, but never the last.
        """
        encoders = [name for name in self.encoders if name in self.components]
        if len(encoders) > 1:
            raise InputError(
                "this model has several text encoders: an edit of one of them would leave the "
                "concept in the others"
            )
        layers = []
        for path, module in self.components[encoders[0]].named_modules():
            if type(module).__name__.endswith(("EncoderLayer", "DecoderLayer")):
                layers.append(path)
        return f"{encoders[0]}.{layers[min(len(layers) - 2, 8 * len(layers) // 12)]}"

    def text_hidden_states(self, prompts: Sequence[str]) -> Tensor:
        states: list[Tensor] = []
        component, _, path = self.text_layer().partition(".")

        def record(module: nn.Module, args: Any, output: Any) -> None:
            states.append(output[0] if isinstance(output, tuple) else output)

        layer = self.components[component].get_submodule(path)
        handle = layer.register_forward_hook(record)
        try:
            for i in range(0, len(prompts), 64):
                self.encode(prompts[i : i + 64])
        finally:
            handle.remove()
        return torch.cat(states).float()

    @contextmanager
    def text_encoders_on(self, device: torch.device) -> Iterator[None]:
        encoders = [self.components[name] for name in self.encoders if name in self.components]
        if self.offloaded_to:
            encoders = []
        devices_before = [next(encoder.parameters()).device for encoder in encoders]
        try:
            for encoder in encoders:
                encoder.to(device)
            yield
        finally:
            for encoder, before in zip(encoders, devices_before):
                encoder.to(before)

    def warn_of_truncation(self, prompts: Sequence[str]) -> None:
        """Log how many prompts are longer than the text encoder reads, and one of them."""
        truncated = []
        for prompt, lost in zip(prompts, self.truncated_texts(prompts)):
            if lost:
                truncated.append((prompt, lost))
        if truncated:
            log.warning(
                '%d prompts are longer than the text encoder reads; in "%s" this part is '
                'ignored: "%s"',
                len(truncated),
                *truncated[0],
            )

    def truncated_text(self, prompt: str) -> str:
        return self.truncated_texts([prompt])[0]

    def truncated_texts(self, prompts: Sequence[str]) -> list[str]:
        """`truncated_text` of many prompts, which are tokenized together."""
        tokenizer = self.pipe.tokenizer
        return texts_behind(tokenizer, prompts, tokenizer.model_max_length - 2)

    def last_token_index(self, prompts: Sequence[str]) -> Tensor:
        tokenizer = self.pipe.tokenizer
        lengths = token_counts(tokenizer, prompts, tokenizer.model_max_length)
        return lengths - 2  # the end token follows, the start token comes first

    def weight_group(self, name: str) -> tuple[Site, ...]:
        if name not in self.groups:
            raise InputError(f'unknown weight group "{name}": one of {", ".join(self.groups)}')
        belongs = self.groups[name]
        if any(getattr(module, "fused_projections", False) for module in self.denoiser.modules()):
            raise RunError(
                "attention reads fused copies of its weights: call pipe.unfuse_qkv_projections() "
                "and load the pipeline again, or erase before fusing"
            )
        sites = []
        for parameter, _ in self.denoiser.named_parameters():
            path = parameter.replace(".base_layer.", ".")  # PEFT has wrapped a module
            if belongs(path) and ".lora_" not in path:
                sites.append(Site(f"{self.network}.{path}", self.input_name(path)))
        if not sites:
            raise InputError(f'the weight group "{name}" is empty in this model')
        return tuple(sites)

    def input_name(self, path: str) -> str:
        """The name for `linear_input` of a parameter's input; "" if it does not have one.

        Args:
            path: The parameter's path in the denoiser.
        """
        return next((name for name, multiplies in self.readers.items() if multiplies(path)), "")

    def make_scheduler(self, sampler: str, steps: int) -> Any:
        """A scheduler, set to a number of steps.

        Args:
            sampler: One of `samplers`.
            steps: Sampling steps.
        """
        scheduler: Any = self.schedulers[sampler].from_config(self.scheduler.config)
        scheduler.set_timesteps(steps)
        return scheduler

    def guided(
        self, x: Tensor, t: Tensor, null: Condition, condition: Condition, guidance: float
    ) -> Tensor:
        """Classifier-free guidance, ε(∅) + s·(ε(c) − ε(∅)) (Ho & Salimans, arXiv 2207.12598).

        Args:
            x: Noisy latents [N, C, H, W].
            t: Timesteps [N].
            null: The empty prompt, N rows.
            condition: The prompts, N rows.
            guidance: The guidance scale s.

        Returns:
            The prediction that the sampler uses [N, C, H, W].
        """
        both = self.predict(torch.cat([x, x]), torch.cat([t, t]), join(null, condition))
        ε_null, ε_c = both.chunk(2)
        return ε_null + guidance * (ε_c - ε_null)

    @torch.no_grad()
    def trajectory(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        sampling: Sampling = DEFAULT_SAMPLING,
        *,
        latents: Tensor | None = None,
        skip: int = 0,
        change: LatentChange | None = None,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Sample step by step. Conditions and weights are read anew at every step.

        Args:
            prompts: N prompts.
            seeds: N seeds of the initial noise; not read where `latents` are set.
            sampling: Steps, guidance and sampler.
            latents: Start from these [N, C, H, W] instead of noise.
            skip: Start after this many of the steps.
            change: Applied to the latents after each step: (x, t of the next step) -> x. The last
                call receives t = -1.

        Yields:
            (x_t, t) before each step, and finally the finished latents with t = -1.
        """
        sampling = sampling.resolve(self)
        assert sampling.sampler is not None
        assert sampling.guidance is not None
        scheduler = self.make_scheduler(sampling.sampler, sampling.steps)
        if latents is None:
            latents = self.initial_noise(seeds)
        x = latents.to(self.device, self.dtype)
        null = {}
        for name, value in self.encode([""]).items():
            null[name] = value.expand(len(prompts), *value.shape[1:])
        condition = self.encode(prompts)
        timesteps = [*scheduler.timesteps[skip:], torch.tensor(-1)]
        for step, next_step in zip(timesteps, timesteps[1:]):
            t = step.expand(len(x)).to(self.device)
            yield x, t
            prediction = self.guided(x, t, null, condition, sampling.guidance)
            x = scheduler.step(prediction, step, x, return_dict=False)[0]
            if change is not None:
                x = change(x, next_step.expand(len(x)).to(self.device))
        yield x, torch.full((len(x),), -1, device=self.device)

    def initial_noise(self, seeds: Sequence[int]) -> Tensor:
        """Standard normal noise [N, C, H, W] on the CPU, each row from its own seed."""
        rows = []
        for seed in seeds:
            generator = torch.Generator().manual_seed(seed)
            rows.append(torch.randn((1, *self.latent_shape), generator=generator))
        return torch.cat(rows)

    def sample(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        sampling: Sampling = DEFAULT_SAMPLING,
    ) -> Tensor:
        """The finished latents of a trajectory.

        Args:
            prompts: N prompts.
            seeds: N seeds of the initial noise.
            sampling: Steps, guidance and sampler.

        Returns:
            Latents [N, C, H, W].
        """
        x = torch.empty(0)
        for x, _ in self.trajectory(prompts, seeds, sampling):  # noqa: B007  (the last is returned)
            pass
        return x

    @property
    def latent_shift(self) -> float:
        """Subtracted from the autoencoder's latents before they are scaled; 0 in most families."""
        return self.pipe.vae.config.get("shift_factor") or 0.0

    @torch.no_grad()
    def latents(self, images: Tensor) -> Tensor:
        scaled = (images * 2 - 1).to(self.device, self.pipe.vae.dtype)
        mean = self.pipe.vae.encode(scaled).latent_dist.mode()
        return (mean.to(self.dtype) - self.latent_shift) * self.pipe.vae.config["scaling_factor"]

    @property
    def latent_shape(self) -> tuple[int, ...]:
        side = latent_side(self.pipe, self.network)
        return self.denoiser.config["in_channels"], side, side

    @property
    def vae_bytes(self) -> int:
        return sum(t.nbytes for t in self.pipe.vae.state_dict().values())

    @property
    def max_batch(self) -> int:
        """64 for latents of 32 x 32 or smaller, 16 for 64 x 64, 4 for 128 x 128."""
        h, w = self.latent_shape[-2:]
        return min(64, max(2, 2**16 // (h * w)))

    @property
    def image_size(self) -> int:
        return self.latent_shape[1] * self.pipe.vae_scale_factor

    @property
    def image_shape(self) -> tuple[int, int]:
        return self.image_size, self.image_size

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Decode four images of 256 x 256 pixels at once, or as many pixels of another size.

        The autoencoder takes more memory than the denoiser.
        """
        at_once = max(1, 2**18 // self.image_size**2)
        return torch.cat([self.decode_batch(part) for part in latents.split(at_once)])

    def decode_batch(self, latents: Tensor) -> Tensor:
        """Decode latents [N, C, H, W] to images in [0, 1], all at once."""
        latents = latents / self.pipe.vae.config["scaling_factor"] + self.latent_shift
        images = self.pipe.vae.decode(latents.to(self.pipe.vae.dtype), return_dict=False)[0]
        return to_unit_range(images)

    def fingerprint(self) -> str:
        return self.base_sha256 or hash_weights(self.components)

    def image_cache_key(self) -> str:
        settings = {}
        for key, value in self.pipe.scheduler.config.items():
            if not key.startswith("_"):
                settings[key] = value
        parts = [
            settings,
            self.latent_shape,
            self.pipe.tokenizer.model_max_length,
            version("diffusers"),
            self.device.type,
            str(self.dtype),
            self.quantized,
        ]
        text = json.dumps(parts, sort_keys=True, default=str)
        settings_hash = hashlib.sha256(text.encode()).hexdigest()
        vae_hash = hash_weights({"vae": self.pipe.vae})
        return f"{self.fingerprint()}-{vae_hash[:16]}-{settings_hash[:16]}"


def in_all(path: str) -> bool:
    """Every parameter."""
    return True


def to_unit_range(images: Tensor) -> Tensor:
    """Images from the autoencoder's [-1, 1] to [0, 1], in single precision."""
    return (images / 2 + 0.5).clamp(0, 1).float()


def whole_words(tokenizer: Any) -> tuple[str, ...]:
    """Words that are one token, in tokenizers that mark whole words as CLIP's does ("cat</w>").

    Args:
        tokenizer: Any tokenizer of transformers.

    Returns:
        The words of three letters or more, sorted.
    """
    words = []
    for token in tokenizer.get_vocab():
        word = token.removesuffix("</w>")
        if token.endswith("</w>") and len(word) > 2 and word.isascii() and word.isalpha():
            words.append(word)
    return tuple(sorted(words))


def texts_behind(tokenizer: Any, prompts: Sequence[str], limit: int) -> list[str]:
    """The part of each prompt that is not read.

    Args:
        tokenizer: A tokenizer of transformers.
        prompts: N prompts.
        limit: Tokens of a prompt that are read, special tokens apart.

    Returns:
        N texts; "" where the whole prompt is read.
    """
    texts = []
    for ids in tokenizer(list(prompts), add_special_tokens=False).input_ids if prompts else ():
        texts.append(tokenizer.decode(ids[limit:]).strip() if len(ids) > limit else "")
    return texts


def token_counts(tokenizer: Any, prompts: Sequence[str], limit: int) -> Tensor:
    """How many tokens each prompt has, special tokens included.

    Args:
        tokenizer: A tokenizer of transformers.
        prompts: N prompts.
        limit: The most that are counted.

    Returns:
        Counts [N].
    """
    if not prompts:
        return torch.tensor([], dtype=torch.long)
    ids = tokenizer(list(prompts), truncation=True, max_length=limit).input_ids
    return torch.tensor([len(row) for row in ids])


def hash_weights(modules: Mapping[str, nn.Module]) -> str:
    """sha256 of weights and buffers, rounded to bfloat16.

    Args:
        modules: Networks by name; the names are hashed, too.
    """
    digest = hashlib.sha256()
    for component, module in modules.items():
        for name, tensor in sorted(module.state_dict().items()):  # a swap may change the order
            values = tensor.detach()
            if values.is_floating_point():
                values = values.to(torch.bfloat16)
            digest.update(f"{component}.{name}".encode())
            digest.update(values.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
