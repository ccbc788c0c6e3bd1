"""Stable Diffusion 1.x and 2.x: a U-Net with cross-attention on CLIP's token states.

It predicts noise (epsilon) or velocity (v).
"""

from collections.abc import Sequence
from typing import Any

import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_ddim_inverse import DDIMInverseScheduler
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from torch import Tensor

from ...errors import InputError
from ..conditioning import per_row
from ..consistency import check_present
from ..cross_attention import GROUPS, CrossModel
from ..interface import Condition
from ..pipeline_model import STATES
from ..token_embeddings import padded_ids, run_text_encoder

SCHEDULERS = {"ddim": DDIMScheduler, "dpm-solver++": DPMSolverMultistepScheduler}

OUTSIDE = ("conv_out", "conv_norm_out", "time_embed", "add_embed")


def in_attention_blocks(path: str) -> bool:
    """Every matrix of the attention blocks.

    Args:
        path: Dotted name of a parameter inside the U-Net.

    Returns:
        True for `mid_block.attentions.0.proj_in.weight`, False for its bias and for convolutions
        outside the attention blocks.
    """
    return ".attentions." in path and path.endswith(".weight") and "norm" not in path


def in_all_but_cross_attention(path: str) -> bool:
    """Everything between the first and the last layers, except for cross-attention.

    Args:
        path: Dotted name of a parameter inside the U-Net.

    Returns:
        True for `mid_block.attentions.0.proj_in.weight`, False for `conv_out.weight` and
        `time_embedding.linear_1.weight`.
    """
    return ".attn2." not in path and not path.startswith(OUTSIDE)


UNET = {
    **GROUPS,
    "attention blocks": in_attention_blocks,
    "all but cross-attention": in_all_but_cross_attention,
}


class StableDiffusion(CrossModel):
    """The `Model` around a StableDiffusionPipeline. Its own sampler is DDIM."""

    family = "stable-diffusion"
    network = "unet"
    encoders = ("text_encoder",)
    schedulers = SCHEDULERS
    groups = UNET

    def __init__(self, pipe: Any, vocabulary: tuple[str, ...]):
        super().__init__(pipe, vocabulary)
        config = pipe.scheduler.config
        clip_sample = config.get("clip_sample", False)  # by default no: latents may exceed 1
        self.scheduler = DDIMScheduler.from_config(config, clip_sample=clip_sample)
        self.prediction = str(self.scheduler.config["prediction_type"])
        if self.prediction not in ("epsilon", "v_prediction"):
            raise InputError(
                f"this model predicts {self.prediction}: only Stable Diffusion with epsilon or "
                "v_prediction is supported"
            )
        self.alphas = self.scheduler.alphas_cumprod
        if not bool(((self.alphas >= 0) & (self.alphas <= 1)).all()):
            raise InputError(
                "the noise schedule of scheduler/scheduler_config.json (beta_start, beta_end, "
                "beta_schedule) leaves the range from 0 to 1"
            )
        self.timesteps = len(self.alphas)

    @classmethod
    def widths_read(cls, pipe: Any) -> dict[str, int]:
        check_present(pipe, cls.encoders)
        width = 0
        for name in cls.encoders:
            width += getattr(pipe, name).config.hidden_size
        return {"cross_attention_dim": width}

    @staticmethod
    def fits(pipe: object) -> bool:
        return isinstance(pipe, StableDiffusionPipeline)

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> Condition:
        """CLIP's last hidden states; the log says what is cut off a prompt that is too long."""
        self.warn_of_truncation(prompts)
        ids = self.tokenize(prompts)["text_encoder"]
        return {STATES: self.pipe.text_encoder(ids)[0].to(self.dtype)}

    def tokenize(self, prompts: Sequence[str]) -> Condition:
        tokenizer = self.pipe.tokenizer
        ids = padded_ids(tokenizer, list(prompts), tokenizer.model_max_length)
        return {"text_encoder": ids.to(self.device)}

    def encode_from(self, vectors: Condition, ids: Condition) -> Condition:
        """Encode token embeddings with CLIP: its last hidden states.

        Args:
            vectors: Token embeddings by text encoder [N, tokens, width], before positions are
                added.
            ids: Token ids by text encoder [N, tokens]; they tell where a prompt ends.

        Returns:
            The condition, N rows, with gradients to `vectors`.
        """
        output = run_text_encoder(
            self.pipe.text_encoder, vectors["text_encoder"], ids["text_encoder"]
        )
        return {STATES: output.last_hidden_state.to(self.dtype)}

    def add_noise(self, x: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """x_t = √ᾱ_t x + √(1 − ᾱ_t) n.

        Args:
            x: Clean latents [N, C, H, W].
            noise: Standard normal noise n [N, C, H, W].
            t: Timesteps [N], whole numbers from 0 to `timesteps` − 1.

        Returns:
            x_t [N, C, H, W].
        """
        return self.scheduler.add_noise(x, noise, t)

    def target(self, x: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """The noise n, or the velocity v = √ᾱ n − √(1 − ᾱ) x.

        Args:
            x: Clean latents [N, C, H, W].
            noise: Standard normal noise n [N, C, H, W].
            t: Timesteps [N].

        Returns:
            n or v [N, C, H, W].
        """
        if self.prediction == "epsilon":
            return noise
        ᾱ = per_row(self.alphas.to(x.device)[t], x).to(x)
        return ᾱ.sqrt() * noise - (1 - ᾱ).sqrt() * x

    def predict(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """Predict noise or velocity, whichever the model was trained for.

        Args:
            x: Noisy latents [N, C, H, W].
            t: Timesteps [N].
            condition: N encoded prompts.

        Returns:
            ε or v [N, C, H, W].
        """
        return self.pipe.unet(x, t, condition[STATES], return_dict=False)[0]

    def weight(self, t: Tensor) -> Tensor:
        """1 for epsilon; for v, eps = √ᾱ v + √(1−ᾱ) x_t, so that an error of v counts ᾱ."""
        if self.prediction == "epsilon":
            return torch.ones_like(self.alphas[t])
        return self.alphas[t]

    @torch.no_grad()
    def invert(self, latents: Tensor, prompts: Sequence[str], *, steps: int, upto: int) -> Tensor:
        """DDIM inversion without guidance.

        Exact as far as predictions at two neighboring steps are the same.

        Args:
            latents: Clean latents x_0 [N, C, H, W].
            prompts: N prompts that describe them.
            steps: Sampling steps of the whole trajectory.
            upto: How many of them are inverted, 1 to `steps`.

        Returns:
            Noisy latents [N, C, H, W] from which `trajectory(..., skip=steps - upto)` continues.
        """
        scheduler: Any = DDIMInverseScheduler.from_config(self.scheduler.config)
        scheduler.set_timesteps(steps)
        x = latents
        condition = self.encode(prompts)
        for step in scheduler.timesteps[:upto]:
            prediction = self.predict(x, step.expand(len(x)).to(self.device), condition)
            x = scheduler.step(prediction, step, x, return_dict=False)[0]
        return x
