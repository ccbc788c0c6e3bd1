"""Stable Diffusion 3 and 3.5: a transformer with three text encoders, guided as its U-Net ancestors are."""

from collections.abc import Sequence

import torch
from diffusers.pipelines.stable_diffusion_3.pipeline_stable_diffusion_3 import StableDiffusion3Pipeline
from torch import Tensor

from ..interface import Condition
from ..joint_attention import POOLED, JointModel
from ..pipeline_model import STATES


class StableDiffusion3(JointModel):
    """The `Model` around a StableDiffusion3Pipeline; its T5 encoder may be left out, as diffusers allows."""

    family = "stable-diffusion-3"
    encoders = ("text_encoder", "text_encoder_2", "text_encoder_3")
    t5_tokens: int = 256  # as in diffusers; where there is no T5, as many zeros

    @staticmethod
    def fits(pipe: object) -> bool:
        return isinstance(pipe, StableDiffusion3Pipeline)

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> Condition:
        """The two CLIP encoders' states side by side, T5's behind them; and both pooled states."""
        self.warn_of_cuts(prompts)
        asked = list(prompts)
        how = dict(device=self.device, do_classifier_free_guidance=False, max_sequence_length=self.t5_tokens)
        states, _, pooled, _ = self.pipe.encode_prompt(asked, asked, asked, **how)
        return {STATES: states.to(self.dtype), POOLED: pooled.to(self.dtype)}

    def predict(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        return self.pipe.transformer(x, condition[STATES], condition[POOLED], t, return_dict=False)[0]
