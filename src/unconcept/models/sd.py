"""Stable Diffusion 1.x and 2.x: a U-Net with cross-attention on CLIP's token states, predicting noise (eps) or velocity (v)."""

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_ddim_inverse import DDIMInverseScheduler
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from torch import Tensor, nn

from ..errors import InputError
from .base import Condition, Site, join

log = logging.getLogger(__name__)

STATES = "encoder_hidden_states"  # [N, tokens, width]: what every attn2 key and value matrix reads
GROUPS = {
    "cross-attention keys and values": lambda path: path.endswith(("attn2.to_k.weight", "attn2.to_v.weight")),
    "cross-attention": lambda path: ".attn2." in path,
    "attention blocks": lambda path: ".attentions." in path and path.endswith(".weight") and "norm" not in path,
    "self-attention": lambda path: ".attn1." in path,
    "all but cross-attention": lambda path: (
        ".attn2." not in path and not path.startswith(("conv_out", "conv_norm_out", "time_embed", "add_embed"))
    ),
    "all": lambda path: True,
}


SAMPLERS = {"ddim": DDIMScheduler, "dpm-solver++": DPMSolverMultistepScheduler}  # deterministic ones


class StableDiffusion:
    """The `Model` around a StableDiffusionPipeline. The pipeline is used as it is and never changed, but for `eval()`."""

    family = "stable-diffusion"
    words = STATES
    parts = ("unet", "text_encoder")

    def __init__(self, pipe: Any, vocabulary: tuple[str, ...]):
        self.pipe, self.vocabulary = pipe, vocabulary
        self.components: Mapping[str, nn.Module] = {name: getattr(pipe, name) for name in self.parts}
        self.denoiser = pipe.unet
        for module in (*self.components.values(), pipe.vae):
            module.eval().requires_grad_(False)
        self.scheduler: Any = DDIMScheduler.from_config(pipe.scheduler.config)
        self.prediction = str(self.scheduler.config["prediction_type"])
        if self.prediction not in ("epsilon", "v_prediction"):
            raise InputError(f"this model predicts {self.prediction}; Stable Diffusion with epsilon or v_prediction is supported")
        self.alphas = self.scheduler.alphas_cumprod
        self.timesteps = len(self.alphas)

    @staticmethod
    def fits(pipe: object) -> bool:
        return isinstance(pipe, StableDiffusionPipeline)

    @property
    def device(self) -> torch.device:
        return self.pipe.unet.device

    @property
    def dtype(self) -> torch.dtype:
        return self.pipe.unet.dtype

    def site(self, module: nn.Module) -> str:
        return next(name for name, component in self.components.items() if component is module)

    def encode(self, prompts: Sequence[str]) -> Condition:
        """CLIP's last hidden states; a prompt that is too long is cut, and the log says what went."""
        tokenizer, limit = self.pipe.tokenizer, self.pipe.tokenizer.model_max_length
        whole = tokenizer(list(prompts), padding="max_length", max_length=limit, truncation=True, return_tensors="pt").input_ids
        self.warn_of_cuts(prompts)
        with torch.no_grad():
            return {STATES: self.pipe.text_encoder(whole.to(self.device))[0].to(self.dtype)}

    def warn_of_cuts(self, prompts: Sequence[str]) -> None:
        if cut := [(prompt, lost) for prompt in prompts if (lost := self.overflow(prompt))]:
            log.warning('%d prompts are longer than the text encoder takes; of "%s" this is cut: "%s"', len(cut), *cut[0])

    def overflow(self, prompt: str) -> str:
        """What of `prompt` the text encoder does not see; "" when all of it fits."""
        ids = self.pipe.tokenizer(prompt, add_special_tokens=False).input_ids
        room = self.pipe.tokenizer.model_max_length - 2
        return self.pipe.tokenizer.decode(ids[room:]).strip() if len(ids) > room else ""

    def ends(self, prompts: Sequence[str]) -> Tensor:
        tokenizer = self.pipe.tokenizer
        lengths = [len(tokenizer(p, truncation=True, max_length=tokenizer.model_max_length).input_ids) for p in prompts]
        return torch.tensor(lengths) - 2  # behind it stands the end token, before it the start token

    def text_layer(self) -> str:
        """Of CLIP's 12 layers the ninth, as in Interpret then Deactivate; of fewer the one at the same depth, never the last."""
        paths = [path for path, module in self.pipe.text_encoder.named_modules() if type(module).__name__ == "CLIPEncoderLayer"]
        return f"text_encoder.{paths[min(len(paths) - 2, 8 * len(paths) // 12)]}"

    def hidden(self, prompts: Sequence[str]) -> Tensor:
        seen: list[Tensor] = []
        module = self.pipe.text_encoder.get_submodule(self.text_layer().removeprefix("text_encoder."))
        handle = module.register_forward_hook(lambda m, given, output: seen.append(output[0] if isinstance(output, tuple) else output))
        try:
            for i in range(0, len(prompts), 64):
                self.encode(prompts[i : i + 64])
        finally:
            handle.remove()
        return torch.cat(seen).float()

    def noised(self, x: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        return self.scheduler.add_noise(x, noise, t)

    def predict(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        return self.pipe.unet(x, t, condition[STATES], return_dict=False)[0]

    def weight(self, t: Tensor) -> Tensor:
        """1 for eps; for v, eps = √ᾱ v + √(1−ᾱ) x_t, so an error of v counts ᾱ."""
        return torch.ones_like(self.alphas[t]) if self.prediction == "epsilon" else self.alphas[t]

    def group(self, name: str) -> tuple[Site, ...]:
        if name not in GROUPS:
            raise InputError(f'unknown weight group "{name}": one of {", ".join(GROUPS)}')
        paths = [path for path, _ in self.pipe.unet.named_parameters() if GROUPS[name](path)]
        reads = GROUPS["cross-attention keys and values"]
        sites = tuple(Site(f"unet.{path}", STATES if reads(path) else "") for path in paths)
        if not sites:
            raise InputError(f'the weight group "{name}" is empty in this model')
        return sites

    def cross_attentions(self) -> dict[str, int]:
        named = self.pipe.unet.named_modules()
        return {f"unet.{path}": module.to_out[0].out_features for path, module in named if path.endswith(".attn2")}

    @torch.no_grad()
    def attention(self, x: Tensor, t: Tensor, condition: Condition, tokens: Sequence[int]) -> dict[str, Tensor]:
        """softmax(q kᵀ / √d) of every attn2, computed again beside the model's own (which need not form it)."""
        maps: dict[str, Tensor] = {}
        handles = []
        for site in self.cross_attentions():
            module = self.pipe.unet.get_submodule(site.removeprefix("unet."))

            def look(module: Any, args: tuple, kwargs: dict, site: str = site) -> None:
                q = module.head_to_batch_dim(module.to_q(args[0] if args else kwargs["hidden_states"]))
                k = module.head_to_batch_dim(module.to_k(kwargs["encoder_hidden_states"]))
                probability = module.get_attention_scores(q, k).unflatten(0, (len(x), -1)).mean(1)[..., list(tokens)].sum(-1)
                side = round(probability.shape[1] ** 0.5)
                maps[site] = probability.unflatten(1, (side, side))

            handles.append(module.register_forward_pre_hook(look, with_kwargs=True))
        try:
            self.predict(x, t, condition)
        finally:
            for handle in handles:
                handle.remove()
        return maps

    @torch.no_grad()
    def trajectory(
        self, prompts: Sequence[str], seeds: Sequence[int], *, steps: int = 25, guidance: float = 5.0, sampler: str = "ddim",
        latents: Tensor | None = None, skip: int = 0,
    ) -> Iterator[tuple[Tensor, Tensor]]:  # fmt: skip
        """DDIM (or DPM-Solver++ 2M) with classifier-free guidance, ε(∅) + s·(ε(c) − ε(∅)); every picture has its own seeded start."""
        scheduler: Any = SAMPLERS[sampler].from_config(self.scheduler.config)
        config = self.pipe.unet.config
        shape = (1, config["in_channels"], config["sample_size"], config["sample_size"])
        if latents is None:
            latents = torch.cat([torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds])
        x = latents.to(self.device, self.dtype)
        null = {name: value.expand(len(prompts), *value.shape[1:]) for name, value in self.encode([""]).items()}
        asked = join(null, self.encode(prompts))
        scheduler.set_timesteps(steps)
        for step in scheduler.timesteps[skip:]:
            t = step.expand(len(x)).to(self.device)
            yield x, t
            without, given = self.predict(torch.cat([x, x]), torch.cat([t, t]), asked).chunk(2)
            x = scheduler.step(without + guidance * (given - without), step, x, return_dict=False)[0]
        yield x, torch.full((len(x),), -1, device=self.device)

    def sample(
        self, prompts: Sequence[str], seeds: Sequence[int], *, steps: int = 25, guidance: float = 5.0, sampler: str = "ddim"
    ) -> Tensor:
        """The finished latents of a trajectory."""
        x = torch.empty(0)
        for x, _ in self.trajectory(prompts, seeds, steps=steps, guidance=guidance, sampler=sampler):  # noqa: B007  (the last one is wanted)
            pass
        return x

    @torch.no_grad()
    def invert(self, latents: Tensor, prompts: Sequence[str], *, steps: int, upto: int) -> Tensor:
        """DDIM inversion without guidance; exact as far as a prediction is the same at two neighbouring steps."""
        scheduler: Any = DDIMInverseScheduler.from_config(self.scheduler.config)
        scheduler.set_timesteps(steps)
        x, c = latents, self.encode(prompts)
        for step in scheduler.timesteps[:upto]:
            x = scheduler.step(self.predict(x, step.expand(len(x)).to(self.device), c), step, x, return_dict=False)[0]
        return x

    @torch.no_grad()
    def latents(self, pictures: Tensor) -> Tensor:
        mean = self.pipe.vae.encode((pictures * 2 - 1).to(self.device, self.pipe.vae.dtype)).latent_dist.mode()
        return mean.to(self.dtype) * self.pipe.vae.config["scaling_factor"]

    @property
    def picture_size(self) -> int:
        return self.pipe.unet.config["sample_size"] * self.pipe.vae_scale_factor

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        scale = self.pipe.vae.config["scaling_factor"]
        return (self.pipe.vae.decode((latents / scale).to(self.pipe.vae.dtype), return_dict=False)[0] / 2 + 0.5).clamp(0, 1).float()

    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        for component, module in self.components.items():
            for name, tensor in module.state_dict().items():
                digest.update(f"{component}.{name}".encode())
                digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()
