"""Stable Diffusion 3 and 3.5: a transformer with three text encoders."""

from collections.abc import Sequence
from typing import Any

import torch
from diffusers.pipelines.stable_diffusion_3.pipeline_stable_diffusion_3 import (
    StableDiffusion3Pipeline,
)
from torch import Tensor

from ..consistency import check_present
from ..interface import Condition
from ..joint_attention import POOLED, JointModel
from ..pipeline_model import STATES
from ..token_embeddings import padded_ids, run_text_encoder

CLIP = ("text_encoder", "text_encoder_2")

T5 = "text_encoder_3"


class StableDiffusion3(JointModel):
    """The `Model` around a StableDiffusion3Pipeline.

    Its T5 encoder may be missing, as diffusers allows.
    """

    family = "stable-diffusion-3"
    encoders = (*CLIP, T5)
    t5_tokens: int = 256  # as in diffusers; without T5 there are as many rows of zeros

    @classmethod
    def widths_read(cls, pipe: Any) -> dict[str, int]:
        check_present(pipe, CLIP)
        pooled = sum(getattr(pipe, name).config.projection_dim for name in CLIP)
        widths = {"pooled_projection_dim": pooled}
        if pipe.text_encoder_3 is not None:
            widths["joint_attention_dim"] = pipe.text_encoder_3.config.d_model
        return widths

    @staticmethod
    def fits(pipe: object) -> bool:
        return isinstance(pipe, StableDiffusion3Pipeline)

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> Condition:
        """The two CLIP encoders' states side by side, then T5's; and both pooled states."""
        self.warn_of_truncation(prompts)
        texts = list(prompts)
        states, _, pooled, _ = self.pipe.encode_prompt(
            texts,
            texts,
            texts,
            device=self.device,
            do_classifier_free_guidance=False,
            max_sequence_length=self.t5_tokens,
        )
        return {STATES: states.to(self.dtype), POOLED: pooled.to(self.dtype)}

    def tokenize(self, prompts: Sequence[str]) -> Condition:
        limit = self.pipe.tokenizer_max_length
        lengths = {CLIP[0]: limit, CLIP[1]: limit, T5: self.t5_tokens}
        ids = {}
        for name, length in lengths.items():
            if name in self.components:
                tokenizer: Any = getattr(self.pipe, name.replace("text_encoder", "tokenizer"))
                ids[name] = padded_ids(tokenizer, list(prompts), length).to(self.device)
        return ids

    def encode_from(self, vectors: Condition, ids: Condition) -> Condition:
        """Encode token embeddings: both CLIP encoders' states, then T5's, and both pooled states.

        Args:
            vectors: Token embeddings by text encoder [N, tokens, width], before positions are
                added.
            ids: Token ids by text encoder [N, tokens]; they tell where a prompt ends.

        Returns:
            The condition, N rows, with gradients to `vectors`.
        """
        clip_states, pooled = [], []
        for name in CLIP:
            output = run_text_encoder(self.components[name], vectors[name], ids[name])
            clip_states.append(output.hidden_states[-2])
            pooled.append(output[0])
        clip = torch.cat(clip_states, dim=-1)
        width = self.denoiser.config["joint_attention_dim"]
        if T5 in self.components:
            t5 = run_text_encoder(self.components[T5], vectors[T5], ids[T5]).last_hidden_state
        else:
            t5 = clip.new_zeros(len(clip), self.t5_tokens, width)
        clip = torch.nn.functional.pad(clip, (0, t5.shape[-1] - clip.shape[-1]))
        states = torch.cat([clip, t5], dim=1)
        return {STATES: states.to(self.dtype), POOLED: torch.cat(pooled, dim=-1).to(self.dtype)}

    def predict(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """Predict the flow.

        Args:
            x: Noisy latents [N, C, H, W].
            t: Timesteps [N], in [0, `timesteps`]; real numbers.
            condition: N encoded prompts.

        Returns:
            The flow v = n − x_0 [N, C, H, W].
        """
        return self.pipe.transformer(x, condition[STATES], condition[POOLED], t, return_dict=False)[
            0
        ]
