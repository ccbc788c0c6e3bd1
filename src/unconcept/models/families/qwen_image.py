"""Qwen-Image: an MMDiT on Qwen2.5-VL's states, whose guidance keeps the length of what the prompt says."""

from collections.abc import Sequence
from typing import Any

import torch
from diffusers.pipelines.qwenimage.pipeline_qwenimage import QwenImagePipeline
from torch import Tensor

from ..interface import Condition
from ..joint_attention import GROUPS, JointModel
from ..llm_text_encoder import Chat
from ..patchify import Patched, packed, unpacked
from ..pipeline_model import STATES

MASK, NORMED = (
    "encoder_hidden_states_mask",
    "normed",
)  # [N, tokens]: which tokens there are; and the token states behind the embedder's norm


def reads(path: str) -> bool:
    """It has no pooled state: the context embedder is all that reads the prompt as it comes."""
    return path == "txt_in.weight"


TRANSFORMER = {**GROUPS, "context embedder": reads, "prompt embedders": reads}

READERS = {NORMED: reads}


class QwenImage(Chat, Patched, JointModel):
    """The `Model` around a QwenImagePipeline. Latents are [N, C, H, W] here; the transformer sees them in patches of 2 × 2.

    Guidance is the pipeline's `true_cfg_scale`: ε(∅) + s·(ε(c) − ε(∅)), patch by patch brought to the length of ε(c).
    """

    family = "qwen-image"
    encoders = ("text_encoder",)
    groups = TRANSFORMER
    readers = READERS
    timestep_scale = 1000.0
    evenly = True

    def __init__(self, pipe: Any, vocabulary: tuple[str, ...]):
        super().__init__(pipe, vocabulary)
        self.dropped = pipe.prompt_template_encode_start_idx

    def usual_guidance(self, called: str = "true_cfg_scale") -> float:
        return super().usual_guidance(called)

    @staticmethod
    def fits(pipe: object) -> bool:
        return isinstance(pipe, QwenImagePipeline)

    def written(self, prompt: str) -> str:
        return self.pipe.prompt_template_encode.format(prompt)

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> Condition:
        """The language model's last hidden states, padded with zeros, and which of them there are."""
        if self.device.type == "meta":
            return dict(zip((STATES, MASK), self.longest(len(prompts), self.denoiser.txt_in.in_features)))
        self.warn_of_cuts(prompts)
        read = [self.pipe.encode_prompt([prompt], device=self.device, max_sequence_length=self.limit)[0] for prompt in prompts]
        states = torch.cat([torch.nn.functional.pad(s, (0, 0, 0, self.limit - s.shape[1])) for s in read])
        mask = torch.stack([torch.arange(self.limit) < s.shape[1] for s in read])
        return {STATES: states.to(self.dtype), MASK: mask.to(self.device)}

    def linear_input(self, name: str, condition: Condition) -> Tensor:
        return self.denoiser.txt_norm(condition[STATES]) if name == NORMED else condition[name]

    def predict(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        h, w = x.shape[2:]
        out = self.pipe.transformer(
            hidden_states=packed(x), timestep=t / self.timestep_scale, encoder_hidden_states=condition[STATES], encoder_hidden_states_mask=condition[MASK],
            img_shapes=[[(1, h // 2, w // 2)]] * len(x), return_dict=False,
        )[0]  # fmt: skip
        return unpacked(out, h, w)

    def guided(self, x: Tensor, t: Tensor, null: Condition, asked: Condition, guidance: float) -> Tensor:
        c, u = packed(self.predict(x, t, asked)), packed(self.predict(x, t, null))
        sum_ = u + guidance * (c - u)
        return unpacked(sum_ * (c.norm(dim=-1, keepdim=True) / sum_.norm(dim=-1, keepdim=True)), *x.shape[2:])

    def standard(self) -> tuple[Tensor, Tensor]:
        """Mean and deviation of the autoencoder's latents [1, C, 1, 1, 1]."""
        mean, deviation = (torch.tensor(self.pipe.vae.config[name]).to(self.device) for name in ("latents_mean", "latents_std"))
        return mean.view(1, -1, 1, 1, 1), deviation.view(1, -1, 1, 1, 1)

    @torch.no_grad()
    def latents(self, pictures: Tensor) -> Tensor:
        mean, deviation = self.standard()
        video = (pictures * 2 - 1).to(self.device, self.pipe.vae.dtype).unsqueeze(2)
        return ((self.pipe.vae.encode(video).latent_dist.mode() - mean) / deviation).squeeze(2).to(self.dtype)

    def decoded(self, latents: Tensor) -> Tensor:
        mean, deviation = self.standard()
        video = self.pipe.vae.decode((latents.unsqueeze(2) * deviation + mean).to(self.pipe.vae.dtype), return_dict=False)[0]
        return (video[:, :, 0] / 2 + 0.5).clamp(0, 1).float()
