"""Stable Diffusion 1.x and 2.x: a U-Net with cross-attention on CLIP's token states, predicting noise (eps) or velocity (v)."""

from collections.abc import Sequence
from typing import Any

import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_ddim_inverse import DDIMInverseScheduler
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from torch import Tensor

from ..errors import InputError
from .base import Condition
from .pipeline import STATES, PipelineModel


def reads(path: str) -> bool:
    """Every key and value matrix of a cross-attention."""
    return path.endswith(("attn2.to_k.weight", "attn2.to_v.weight"))


SCHEDULERS = {"ddim": DDIMScheduler, "dpm-solver++": DPMSolverMultistepScheduler}
GROUPS = {
    "cross-attention keys and values": reads,
    "cross-attention": lambda path: ".attn2." in path,
    "attention blocks": lambda path: ".attentions." in path and path.endswith(".weight") and "norm" not in path,
    "self-attention": lambda path: ".attn1." in path,
    "all but cross-attention": lambda path: (
        ".attn2." not in path and not path.startswith(("conv_out", "conv_norm_out", "time_embed", "add_embed"))
    ),
    "all": lambda path: True,
}


class StableDiffusion(PipelineModel):
    """The `Model` around a StableDiffusionPipeline. Its own sampler is DDIM."""

    family = "stable-diffusion"
    network = "unet"
    encoders = ("text_encoder",)
    readers = staticmethod(reads)
    schedulers = SCHEDULERS
    groups = GROUPS

    def __init__(self, pipe: Any, vocabulary: tuple[str, ...]):
        super().__init__(pipe, vocabulary)
        self.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
        self.prediction = str(self.scheduler.config["prediction_type"])
        if self.prediction not in ("epsilon", "v_prediction"):
            raise InputError(f"this model predicts {self.prediction}; Stable Diffusion with epsilon or v_prediction is supported")
        self.alphas = self.scheduler.alphas_cumprod
        self.timesteps = len(self.alphas)

    @staticmethod
    def fits(pipe: object) -> bool:
        return isinstance(pipe, StableDiffusionPipeline)

    def encode(self, prompts: Sequence[str]) -> Condition:
        """CLIP's last hidden states; a prompt that is too long is cut, and the log says what went."""
        tokenizer, limit = self.pipe.tokenizer, self.pipe.tokenizer.model_max_length
        whole = tokenizer(list(prompts), padding="max_length", max_length=limit, truncation=True, return_tensors="pt").input_ids
        self.warn_of_cuts(prompts)
        with torch.no_grad():
            return {STATES: self.pipe.text_encoder(whole.to(self.device))[0].to(self.dtype)}

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
    def invert(self, latents: Tensor, prompts: Sequence[str], *, steps: int, upto: int) -> Tensor:
        """DDIM inversion without guidance; exact as far as a prediction is the same at two neighbouring steps."""
        scheduler: Any = DDIMInverseScheduler.from_config(self.scheduler.config)
        scheduler.set_timesteps(steps)
        x, c = latents, self.encode(prompts)
        for step in scheduler.timesteps[:upto]:
            x = scheduler.step(self.predict(x, step.expand(len(x)).to(self.device), c), step, x, return_dict=False)[0]
        return x
