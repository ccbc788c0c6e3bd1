"""Qwen-Image: an MMDiT on Qwen2.5-VL's states, whose guidance keeps the norm of ε(c)."""

from collections.abc import Sequence
from typing import Any

import torch
from diffusers.pipelines.qwenimage.pipeline_qwenimage import QwenImagePipeline
from torch import Tensor

from ..interface import Condition
from ..joint_attention import GROUPS, JointModel
from ..latent_space import to_unit_range
from ..llm_text_encoder import Chat
from ..patchify import Patched, packed, unpacked
from ..pipeline_model import STATES

MASK = "encoder_hidden_states_mask"  # [N, tokens]: which tokens are not padding

NORMALIZED = "normed"  # name for `linear_input`: token states behind the embedder's norm


def reads_states(path: str) -> bool:
    """The context embedder; without a pooled state it is all that reads the prompt directly.

    Args:
        path: Dotted name of a parameter inside the transformer.

    Returns:
        True for `txt_in.weight` alone.
    """
    return path == "txt_in.weight"


TRANSFORMER = {**GROUPS, "context embedder": reads_states, "prompt embedders": reads_states}

READERS = {NORMALIZED: reads_states}


class QwenImage(Chat, Patched, JointModel):
    """The `Model` around a QwenImagePipeline.

    Latents are [N, C, H, W] here; the transformer receives them in patches of 2 x 2. Guidance is
    the pipeline's `true_cfg_scale`: ε(∅) + s·(ε(c) − ε(∅)), scaled patch by patch to the norm of
    ε(c).
    """

    family = "qwen-image"
    encoders = ("text_encoder",)
    groups = TRANSFORMER
    readers = READERS
    channels_per_latent = (4, 1)
    timestep_scale = 1000.0
    evenly_spaced = True

    def __init__(self, pipe: Any, vocabulary: tuple[str, ...]):
        super().__init__(pipe, vocabulary)
        self.dropped = pipe.prompt_template_encode_start_idx

    def usual_guidance(self, parameter: str = "true_cfg_scale") -> float:
        return super().usual_guidance(parameter)

    @staticmethod
    def fits(pipe: object) -> bool:
        return isinstance(pipe, QwenImagePipeline)

    def in_template(self, prompt: str) -> str:
        return self.pipe.prompt_template_encode.format(prompt)

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> Condition:
        """The language model's last hidden states, padded with zeros, and their mask."""
        if self.device.type == "meta":
            states, mask = self.meta_states(len(prompts), self.denoiser.txt_in.in_features)
            return {STATES: states, MASK: mask}
        self.warn_of_truncation(prompts)
        rows, masks = [], []
        for prompt in prompts:
            states, _ = self.pipe.encode_prompt(
                [prompt], device=self.device, max_sequence_length=self.limit
            )
            length = states.shape[1]
            rows.append(torch.nn.functional.pad(states, (0, 0, 0, self.limit - length)))
            masks.append(torch.arange(self.limit) < length)
        return {
            STATES: torch.cat(rows).to(self.dtype),
            MASK: torch.stack(masks).to(self.device),
        }

    def linear_input(self, name: str, condition: Condition) -> Tensor:
        """Compute the input of the context embedder: token states behind its norm.

        Args:
            name: `NORMALIZED`, or an entry of the condition.
            condition: N encoded prompts.

        Returns:
            [N, tokens, width]
        """
        if name == NORMALIZED:
            return self.denoiser.txt_norm(condition[STATES])
        return condition[name]

    def predict(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """Predict the flow; padding tokens are masked.

        Args:
            x: Noisy latents [N, C, H, W].
            t: Timesteps [N], in [0, `timesteps`]; real numbers.
            condition: N encoded prompts.

        Returns:
            The flow v = n − x_0 [N, C, H, W].
        """
        h, w = x.shape[2:]
        output = self.pipe.transformer(
            hidden_states=packed(x),
            timestep=t / self.timestep_scale,
            encoder_hidden_states=condition[STATES],
            encoder_hidden_states_mask=condition[MASK],
            img_shapes=[[(1, h // 2, w // 2)]] * len(x),
            return_dict=False,
        )[0]
        return unpacked(output, h, w)

    def guided(
        self, x: Tensor, t: Tensor, null: Condition, condition: Condition, guidance: float
    ) -> Tensor:
        """Classifier-free guidance, scaled patch by patch to the norm of ε(c), as in the pipeline.

        Args:
            x: Noisy latents [N, C, H, W].
            t: Timesteps [N], in [0, `timesteps`]; real numbers.
            null: The empty prompt, N rows.
            condition: N encoded prompts.
            guidance: The guidance scale s.

        Returns:
            The flow v = n − x_0 [N, C, H, W].
        """
        ε_c = packed(self.predict(x, t, condition))
        ε_null = packed(self.predict(x, t, null))
        guided = ε_null + guidance * (ε_c - ε_null)
        ratio = ε_c.norm(dim=-1, keepdim=True) / guided.norm(dim=-1, keepdim=True)
        return unpacked(guided * ratio, *x.shape[2:])

    def latent_statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the autoencoder's latents [1, C, 1, 1, 1]."""
        config = self.pipe.vae.config
        mean = torch.tensor(config["latents_mean"]).to(self.device)
        std = torch.tensor(config["latents_std"]).to(self.device)
        return mean.view(1, -1, 1, 1, 1), std.view(1, -1, 1, 1, 1)

    @torch.no_grad()
    def latents(self, images: Tensor) -> Tensor:
        mean, std = self.latent_statistics()
        video = (images * 2 - 1).to(self.device, self.pipe.vae.dtype).unsqueeze(2)
        clean = self.pipe.vae.encode(video).latent_dist.mode()
        return ((clean - mean) / std).squeeze(2).to(self.dtype)

    def decode_batch(self, latents: Tensor) -> Tensor:
        mean, std = self.latent_statistics()
        clean = (latents.unsqueeze(2) * std + mean).to(self.pipe.vae.dtype)
        video = self.pipe.vae.decode(clean, return_dict=False)[0]
        return to_unit_range(video[:, :, 0])
