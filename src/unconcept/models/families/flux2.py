"""Flux.2 Klein: a language model instead of CLIP and T5, and latents normalized patch by patch."""

from collections.abc import Sequence
from typing import Any

import torch
from diffusers.pipelines.flux2.pipeline_flux2_klein import Flux2KleinPipeline, compute_empirical_mu
from torch import Tensor

from ..interface import Condition
from ..joint_attention import DISTILLED, JointModel
from ..latent_space import to_unit_range
from ..llm_text_encoder import Chat
from ..pipeline_model import STATES


class Flux2Klein(Chat, JointModel):
    """The `Model` around a Flux2KleinPipeline.

    Latents are [N, 4 C, H / 2, W / 2] here, with patches as channels, as the pipeline keeps them.
    The base model uses classifier-free guidance; a distilled one (the pipeline's `is_distilled`)
    does not.
    """

    family = "flux-2-klein"
    encoders = ("text_encoder",)
    thinking = False
    channels_per_latent = (4, 4)
    timestep_scale = 1000.0
    evenly_spaced = True

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
    def image_tokens(self) -> int:
        return self.latent_shape[1] * self.latent_shape[2]

    def schedule_shift(self, steps: int) -> float:
        return compute_empirical_mu(self.image_tokens, steps)

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> Condition:
        """Hidden states of three depths side by side; all 512 tokens, as in the pipeline."""
        self.warn_of_truncation(prompts)
        states, _ = self.pipe.encode_prompt(list(prompts), device=self.device)
        return {STATES: states.to(self.dtype)}

    def predict(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """Predict the flow; each 2 x 2 patch of the image is one token.

        Args:
            x: Noisy latents [N, C, H, W].
            t: Timesteps [N], in [0, `timesteps`]; real numbers.
            condition: N encoded prompts.

        Returns:
            The flow v = n − x_0 [N, C, H, W].
        """
        output = self.pipe.transformer(
            hidden_states=x.flatten(2).transpose(1, 2),
            timestep=t / self.timestep_scale,
            guidance=None,
            encoder_hidden_states=condition[STATES],
            txt_ids=self.pipe._prepare_text_ids(condition[STATES]).to(self.device),
            img_ids=self.pipe._prepare_latent_ids(x).to(self.device),
            return_dict=False,
        )[0]
        return output.transpose(1, 2).unflatten(2, x.shape[2:])

    def guided(
        self, x: Tensor, t: Tensor, null: Condition, condition: Condition, guidance: float
    ) -> Tensor:
        """Classifier-free guidance in the base model; a distilled one predicts once, without it.

        Args:
            x: Noisy latents [N, C, H, W].
            t: Timesteps [N], in [0, `timesteps`]; real numbers.
            null: The empty prompt, N rows.
            condition: N encoded prompts.
            guidance: The guidance scale; a distilled model ignores it.

        Returns:
            The flow v = n − x_0 [N, C, H, W].
        """
        if self.uses_cfg:
            return super().guided(x, t, null, condition, guidance)
        return self.predict(x, t, condition)

    def latent_statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the autoencoder's patches [1, 4 C, 1, 1]."""
        norm = self.pipe.vae.bn
        std = (norm.running_var + self.pipe.vae.config["batch_norm_eps"]).sqrt()
        return norm.running_mean.view(1, -1, 1, 1), std.view(1, -1, 1, 1)

    @torch.no_grad()
    def latents(self, images: Tensor) -> Tensor:
        mean, std = self.latent_statistics()
        scaled = (images * 2 - 1).to(self.device, self.pipe.vae.dtype)
        clean = self.pipe.vae.encode(scaled).latent_dist.mode()
        return ((torch.nn.functional.pixel_unshuffle(clean, 2) - mean) / std).to(self.dtype)

    def decode_batch(self, latents: Tensor) -> Tensor:
        mean, std = self.latent_statistics()
        clean = torch.nn.functional.pixel_shuffle(latents * std + mean, 2)
        images = self.pipe.vae.decode(clean.to(self.pipe.vae.dtype), return_dict=False)[0]
        return to_unit_range(images)
