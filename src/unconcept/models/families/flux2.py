"""Flux.2 Klein: a language model in place of CLIP and T5, read at three depths, and latents that are normed patch by patch."""

from collections.abc import Sequence
from typing import Any

import torch
from diffusers.pipelines.flux2.pipeline_flux2_klein import Flux2KleinPipeline, compute_empirical_mu
from torch import Tensor

from ..interface import Condition
from ..joint_attention import JointModel
from ..llm_text_encoder import Chat
from ..pipeline_model import STATES

DISTILLED = (
    "this model is distilled from guidance and samples without an unconditional branch: in the loss its answer to the empty prompt stands for ε(∅); "
    "what is held by λ is that answer"
)


class Flux2Klein(Chat, JointModel):
    """The `Model` around a Flux2KleinPipeline. Latents are [N, 4 C, H / 2, W / 2] here, patches side by side, as the pipeline keeps them.

    The base model is guided; a distilled one (the pipeline's `is_distilled`) samples without.
    """

    family = "flux-2-klein"
    encoders = ("text_encoder",)
    thinks = False
    timestep_scale = 1000.0
    evenly = True

    def __init__(self, pipe: Any, vocabulary: tuple[str, ...]):
        super().__init__(pipe, vocabulary)
        self.uses_cfg = not pipe.config["is_distilled"]
        self.remark = "" if self.uses_cfg else DISTILLED

    @staticmethod
    def fits(pipe: object) -> bool:
        return isinstance(pipe, Flux2KleinPipeline)

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        side = self.pipe.default_sample_size // 2
        return self.denoiser.config["in_channels"], side, side

    @property
    def image_size(self) -> int:
        return self.pipe.default_sample_size * self.pipe.vae_scale_factor

    @property
    def tokens(self) -> int:
        return self.latent_shape[1] * self.latent_shape[2]

    def shifted(self, steps: int) -> float:
        return compute_empirical_mu(self.tokens, steps)

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> Condition:
        """Hidden states of three depths side by side; all 512 tokens are read, padding too, as the pipeline does."""
        self.warn_of_cuts(prompts)
        states, _ = self.pipe.encode_prompt(list(prompts), device=self.device)
        return {STATES: states.to(self.dtype)}

    def predict(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        out = self.pipe.transformer(
            hidden_states=x.flatten(2).transpose(1, 2), timestep=t / self.timestep_scale, guidance=None, encoder_hidden_states=condition[STATES],
            txt_ids=self.pipe._prepare_text_ids(condition[STATES]).to(self.device), img_ids=self.pipe._prepare_latent_ids(x).to(self.device),
            return_dict=False,
        )[0]  # fmt: skip
        return out.transpose(1, 2).unflatten(2, x.shape[2:])

    def guided(self, x: Tensor, t: Tensor, null: Condition, asked: Condition, guidance: float) -> Tensor:
        return super().guided(x, t, null, asked, guidance) if self.uses_cfg else self.predict(x, t, asked)

    def standard(self) -> tuple[Tensor, Tensor]:
        """Mean and deviation of the autoencoder's patches [1, 4 C, 1, 1]."""
        norm = self.pipe.vae.bn
        deviation = (norm.running_var + self.pipe.vae.config["batch_norm_eps"]).sqrt()
        return norm.running_mean.view(1, -1, 1, 1), deviation.view(1, -1, 1, 1)

    @torch.no_grad()
    def latents(self, pictures: Tensor) -> Tensor:
        mean, deviation = self.standard()
        clean = self.pipe.vae.encode((pictures * 2 - 1).to(self.device, self.pipe.vae.dtype)).latent_dist.mode()
        return ((torch.nn.functional.pixel_unshuffle(clean, 2) - mean) / deviation).to(self.dtype)

    def decoded(self, latents: Tensor) -> Tensor:
        mean, deviation = self.standard()
        clean = torch.nn.functional.pixel_shuffle(latents * deviation + mean, 2)
        return (self.pipe.vae.decode(clean.to(self.pipe.vae.dtype), return_dict=False)[0] / 2 + 0.5).clamp(0, 1).float()
