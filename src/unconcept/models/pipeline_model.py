"""The part that all families share: a diffusers pipeline, sampled step by step."""

import hashlib
import inspect
import json
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..concepts.completion import complete
from ..concepts.concept import Concept
from ..config.options import DEFAULT_STEPS
from ..errors import InputError, RunError
from .conditioning import join
from .consistency import (
    check_channels,
    check_present,
    check_size,
    check_tokenizers,
    check_widths,
)
from .fingerprints import hash_weights
from .interface import Condition, LatentChange, Sampling, Site
from .known_names import KnownNames
from .latent_space import LatentSpace
from .prompt_side import PromptSide
from .tokenizers import whole_words

# [N, tokens, width]: the entry of a condition that holds token states, named as in diffusers.
STATES = "encoder_hidden_states"

# Is a parameter of the denoiser, named by its path, in a weight group?
PathTest = Callable[[str], bool]

DEFAULT_SAMPLING = Sampling()


class PipelineModel(PromptSide, LatentSpace):
    """The `Model` around a diffusers pipeline, except for what differs between families.

    The pipeline is used as it is: its modules are put into evaluation mode without gradients, and
    nothing else is changed.

    A family defines what is abstract here, and these:

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
    mask_channels: ClassVar[int] = 0  # of the denoiser's input, beside those
    prompt_states_key: str = STATES
    uses_cfg: bool = True
    remark: str = ""
    timestep_scale: float = 1.0
    scheduler: Any
    timesteps: int
    guidance: float
    steps: int
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
        check_channels(pipe, self.network, self.channels_per_latent, self.mask_channels)
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
        self.steps = self.usual_steps()
        for module in (*self.components.values(), pipe.vae):
            module.eval().requires_grad_(False)

    @staticmethod
    @abstractmethod
    def fits(pipe: object) -> bool:
        """Does a pipeline belong to the family?

        Args:
            pipe: Anything; of a pipeline only its class is looked at.
        """

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

    def usual_steps(self) -> int:
        """Sampling steps of an image where none are set."""
        return DEFAULT_STEPS

    @property
    def device(self) -> torch.device:
        if self.offloaded_to:
            return self.offloaded_to
        if self.has_diffusers_hooks():
            return self.denoiser.device
        return next(self.denoiser.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        if getattr(self.denoiser, "_keep_in_fp32_modules", None) or self.has_diffusers_hooks():
            return self.denoiser.dtype
        for parameter in self.denoiser.parameters():
            if parameter.is_floating_point():
                return parameter.dtype
        return self.denoiser.dtype

    def has_diffusers_hooks(self) -> bool:
        """Does diffusers move or cast the denoiser's weights (group offloading, layerwise casting)?

        The denoiser's own `device` and `dtype` look for that in every module by its name, which
        takes as long as a call of a small network.
        """
        waiting = [self.denoiser]
        while waiting:
            module = waiting.pop()
            if module is not None:
                if "_diffusers_hook" in module.__dict__:
                    return True
                waiting.extend(module._modules.values())
        return False

    def component_name(self, module: nn.Module) -> str:
        return next(name for name, part in self.components.items() if part is module)

    def complete(self, concepts: Sequence[Concept]) -> tuple[Concept, ...]:
        """Complete concepts with the lexicon, unless the caller chose the vocabulary (`wrap`).

        Names from the lexicon that the text encoder does not know are left out; without weights (on
        the meta device) all of them count.

        Args:
            concepts: All concepts of one run; see `Model.complete`.
        """
        if not self.completes:
            return tuple(concepts)
        names = None if self.device.type == "meta" else KnownNames(self)
        return complete(concepts, self.vocabulary, names)

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

    def linear_input(self, name: str, condition: Condition) -> Tensor:
        """The entry of a condition that a matrix multiplies.

        Args:
            name: `Site.reads` of the matrix.
            condition: N encoded prompts.

        Returns:
            [N, tokens, width], or [N, width] for a pooled state.
        """
        return condition[name]

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
        """Standard normal noise [N, C, H, W] on the CPU, each row from its own seed.

        Args:
            seeds: N seeds, in [0, 2⁶⁴); the same seed gives the same noise on every device.
        """
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
    """Every parameter.

    Args:
        path: Dotted name of a parameter inside the denoiser.

    Returns:
        True.
    """
    return True
