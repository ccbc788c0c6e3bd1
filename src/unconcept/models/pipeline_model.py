"""What every family shares: a diffusers pipeline whose denoiser is asked with and without the prompt, step by step."""

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

from ..concepts.concept import Concept
from ..errors import InputError
from .conditioning import join
from .interface import Condition, Site

log = logging.getLogger(__name__)


STATES = "encoder_hidden_states"  # [N, tokens, width]: the entry of a condition that holds token states, named as diffusers names it


class PipelineModel(ABC):
    """The `Model` around a diffusers pipeline, but for what a family says of itself. The pipeline is used as it is: its modules are set to
    evaluate, without gradients, and nothing else is changed.

    A family gives what is abstract here, `fits`, and these:
    """

    family: str
    network: ClassVar[str]  # the pipeline's component that denoises
    encoders: ClassVar[tuple[str, ...]]  # and those that read
    groups: ClassVar[Mapping[str, Callable[[str], bool]]]  # weight group -> is a parameter of the denoiser in it?
    readers: ClassVar[Mapping[str, Callable[[str], bool]]]  # what `reading` gives, by name -> which parameters multiply it
    schedulers: ClassVar[Mapping[str, type]]  # deterministic ones, by the name of the sampler; the first is the family's own
    prompt_states_key: str = STATES
    uses_cfg: bool = True
    remark: str = ""
    timestep_scale: float = 1.0
    scheduler: Any
    timesteps: int
    guidance: float
    quantized: str = ""  # how the layers that are not tuned are held, where not as they are
    base_sha256: str | None = None  # the fingerprint before that

    def __init__(self, pipe: Any, vocabulary: tuple[str, ...]):
        self.pipe, self.vocabulary, self.lexicon = pipe, vocabulary, whole_words(pipe.tokenizer)
        self.denoiser: Any = getattr(pipe, self.network)
        names = (self.network, *self.encoders)
        self.components: Mapping[str, nn.Module] = {name: part for name in names if (part := getattr(pipe, name)) is not None}
        self.samplers, self.guidance = tuple(self.schedulers), self.usual_guidance()
        for module in (*self.components.values(), pipe.vae):
            module.eval().requires_grad_(False)

    def usual_guidance(self, called: str = "guidance_scale") -> float:
        """What the pipeline itself takes where nothing is said."""
        return float(inspect.signature(type(self.pipe).__call__).parameters[called].default)

    @property
    def device(self) -> torch.device:
        return self.denoiser.device

    @property
    def dtype(self) -> torch.dtype:
        return self.denoiser.dtype

    def component_name(self, module: nn.Module) -> str:
        return next(name for name, component in self.components.items() if component is module)

    def complete(self, concepts: Sequence[Concept]) -> tuple[Concept, ...]:
        """The concepts as they are: nothing is known about the words of an arbitrary model."""
        return tuple(concepts)

    @abstractmethod
    def encode(self, prompts: Sequence[str]) -> Condition: ...

    @abstractmethod
    def add_noise(self, x: Tensor, noise: Tensor, t: Tensor) -> Tensor: ...

    @abstractmethod
    def predict(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor: ...

    @abstractmethod
    def weight(self, t: Tensor) -> Tensor: ...

    @abstractmethod
    def invert(self, latents: Tensor, prompts: Sequence[str], *, steps: int, upto: int) -> Tensor: ...

    def linear_input(self, name: str, condition: Condition) -> Tensor:
        return condition[name]

    def text_layer(self) -> str:
        """Of CLIP's 12 layers the ninth, as in Interpret then Deactivate; of another number the one at the same depth, never the last."""
        encoders = [name for name in self.encoders if name in self.components]
        if len(encoders) > 1:
            raise InputError(
                "this model reads prompts with several text encoders: what works in one of them leaves the concept in the others"
            )
        layers = ("EncoderLayer", "DecoderLayer")
        paths = [path for path, module in self.components[encoders[0]].named_modules() if type(module).__name__.endswith(layers)]
        return f"{encoders[0]}.{paths[min(len(paths) - 2, 8 * len(paths) // 12)]}"

    def text_hidden_states(self, prompts: Sequence[str]) -> Tensor:
        seen: list[Tensor] = []
        component, _, path = self.text_layer().partition(".")

        def look(module: nn.Module, given: Any, output: Any) -> None:
            seen.append(output[0] if isinstance(output, tuple) else output)

        handle = self.components[component].get_submodule(path).register_forward_hook(look)
        try:
            for i in range(0, len(prompts), 64):
                self.encode(prompts[i : i + 64])
        finally:
            handle.remove()
        return torch.cat(seen).float()

    @contextmanager
    def text_encoders_on(self, device: torch.device) -> Iterator[None]:
        readers = [self.components[name] for name in self.encoders if name in self.components]
        before = [next(reader.parameters()).device for reader in readers]
        try:
            for reader in readers:
                reader.to(device)
            yield
        finally:
            for reader, place in zip(readers, before):
                reader.to(place)

    def warn_of_cuts(self, prompts: Sequence[str]) -> None:
        if cut := [(prompt, lost) for prompt in prompts if (lost := self.truncated_text(prompt))]:
            log.warning('%d prompts are longer than the text encoder takes; of "%s" this is cut: "%s"', len(cut), *cut[0])

    def truncated_text(self, prompt: str) -> str:
        """What of `prompt` the text encoder does not see; "" when all of it fits."""
        ids = self.pipe.tokenizer(prompt, add_special_tokens=False).input_ids
        room = self.pipe.tokenizer.model_max_length - 2
        return self.pipe.tokenizer.decode(ids[room:]).strip() if len(ids) > room else ""

    def last_token_index(self, prompts: Sequence[str]) -> Tensor:
        tokenizer = self.pipe.tokenizer
        lengths = [len(tokenizer(p, truncation=True, max_length=tokenizer.model_max_length).input_ids) for p in prompts]
        return torch.tensor(lengths) - 2  # behind it stands the end token, before it the start token

    def weight_group(self, name: str) -> tuple[Site, ...]:
        if name not in self.groups:
            raise InputError(f'unknown weight group "{name}": one of {", ".join(self.groups)}')
        paths = [path for path, _ in self.denoiser.named_parameters() if self.groups[name](path)]
        reads = lambda path: next((name for name, reader in self.readers.items() if reader(path)), "")
        sites = tuple(Site(f"{self.network}.{path}", reads(path)) for path in paths)
        if not sites:
            raise InputError(f'the weight group "{name}" is empty in this model')
        return sites

    def steps(self, sampler: str, steps: int) -> Any:
        """The scheduler of a sampler, set to so many steps."""
        scheduler: Any = self.schedulers[sampler].from_config(self.scheduler.config)
        scheduler.set_timesteps(steps)
        return scheduler

    def guided(self, x: Tensor, t: Tensor, null: Condition, asked: Condition, guidance: float) -> Tensor:
        """What the sampler is told [N, C, H, W]: classifier-free guidance, ε(∅) + s·(ε(c) − ε(∅)) (Ho & Salimans 2022)."""
        without, given = self.predict(torch.cat([x, x]), torch.cat([t, t]), join(null, asked)).chunk(2)
        return without + guidance * (given - without)

    @torch.no_grad()
    def trajectory(
        self, prompts: Sequence[str], seeds: Sequence[int], *, steps: int = 25, guidance: float = 5.0, sampler: str | None = None,
        latents: Tensor | None = None, skip: int = 0,
    ) -> Iterator[tuple[Tensor, Tensor]]:  # fmt: skip
        """Every picture has its own seeded start."""
        scheduler = self.steps(sampler or self.samplers[0], steps)
        if latents is None:
            shape = (1, *self.latent_shape)
            latents = torch.cat([torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds])
        x = latents.to(self.device, self.dtype)
        null = {name: value.expand(len(prompts), *value.shape[1:]) for name, value in self.encode([""]).items()}
        asked = self.encode(prompts)
        for step in scheduler.timesteps[skip:]:
            t = step.expand(len(x)).to(self.device)
            yield x, t
            x = scheduler.step(self.guided(x, t, null, asked, guidance), step, x, return_dict=False)[0]
        yield x, torch.full((len(x),), -1, device=self.device)

    def sample(
        self, prompts: Sequence[str], seeds: Sequence[int], *, steps: int = 25, guidance: float = 5.0, sampler: str | None = None
    ) -> Tensor:
        """The finished latents of a trajectory."""
        x = torch.empty(0)
        for x, _ in self.trajectory(prompts, seeds, steps=steps, guidance=guidance, sampler=sampler):  # noqa: B007  (the last one is wanted)
            pass
        return x

    @property
    def centre(self) -> float:
        """What is taken off the autoencoder's latents before they are scaled; most have none."""
        return self.pipe.vae.config.get("shift_factor") or 0.0

    @torch.no_grad()
    def latents(self, pictures: Tensor) -> Tensor:
        mean = self.pipe.vae.encode((pictures * 2 - 1).to(self.device, self.pipe.vae.dtype)).latent_dist.mode()
        return (mean.to(self.dtype) - self.centre) * self.pipe.vae.config["scaling_factor"]

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(channels, height, width)"""
        config = self.denoiser.config
        return config["in_channels"], config["sample_size"], config["sample_size"]

    @property
    def vae_bytes(self) -> int:
        return sum(t.nbytes for t in self.pipe.vae.state_dict().values())

    @property
    def max_batch(self) -> int:
        """64 of 32 x 32 latents or smaller, 16 of 64 x 64, 4 of 128 x 128."""
        _, h, w = self.latent_shape
        return min(64, max(2, 2**16 // (h * w)))

    @property
    def image_size(self) -> int:
        return self.latent_shape[1] * self.pipe.vae_scale_factor

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """As many at once as make four pictures of 256 x 256 pixels: the autoencoder takes more memory than the denoiser."""
        return torch.cat([self.decoded(part) for part in latents.split(max(1, 2**18 // self.image_size**2))])

    def decoded(self, latents: Tensor) -> Tensor:
        latents = latents / self.pipe.vae.config["scaling_factor"] + self.centre
        return (self.pipe.vae.decode(latents.to(self.pipe.vae.dtype), return_dict=False)[0] / 2 + 0.5).clamp(0, 1).float()

    def fingerprint(self) -> str:
        return self.base_sha256 or hash_weights(self.components)

    def image_cache_key(self) -> str:
        told = {key: value for key, value in self.pipe.scheduler.config.items() if not key.startswith("_")}
        rest = [
            told,
            self.latent_shape,
            self.pipe.tokenizer.model_max_length,
            version("diffusers"),
            self.device.type,
            str(self.dtype),
            self.quantized,
        ]
        settings = hashlib.sha256(json.dumps(rest, sort_keys=True, default=str).encode()).hexdigest()
        return f"{self.fingerprint()}-{hash_weights({'vae': self.pipe.vae})[:16]}-{settings[:16]}"


def whole_words(tokenizer: Any) -> tuple[str, ...]:
    """What a tokenizer has a token of its own for, where that says that it is a whole word, as CLIP's does ("cat</w>")."""
    whole = [token.removesuffix("</w>") for token in tokenizer.get_vocab() if token.endswith("</w>")]
    return tuple(sorted(word for word in whole if len(word) > 2 and word.isascii() and word.isalpha()))


def hash_weights(modules: Mapping[str, nn.Module]) -> str:
    """sha256 of weights and buffers, rounded to bfloat16."""
    digest = hashlib.sha256()
    for component, module in modules.items():
        for name, tensor in sorted(module.state_dict().items()):  # a swap may leave another order behind
            rounded = tensor.detach().to(torch.bfloat16) if tensor.is_floating_point() else tensor.detach()
            digest.update(f"{component}.{name}".encode())
            digest.update(rounded.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
