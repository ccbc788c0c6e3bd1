"""Stable Diffusion 3 and 3.5: a transformer in which words and picture look at each other (MMDiT), three text encoders, flow matching."""

from collections.abc import Sequence
from typing import Any

import torch
from diffusers.pipelines.stable_diffusion_3.pipeline_stable_diffusion_3 import StableDiffusion3Pipeline
from torch import Tensor

from ..errors import InputError
from .base import Condition
from .flow import FlowModel
from .pipeline import STATES

POOLED = "pooled_projections"  # [N, width]: of both CLIP encoders
JOINT = "pictures and prompts are read by the same attention in this model"


def reads(path: str) -> bool:
    """The context embedder alone: keys and values are made of what comes out of it and out of the layers behind it."""
    return path == "context_embedder.weight"


GROUPS = {
    "cross-attention keys and values": lambda path: path.endswith(("attn.add_k_proj.weight", "attn.add_v_proj.weight")),
    "cross-attention": lambda path: ".attn.add_" in path or ".attn.to_add_out" in path,
    "context embedder": reads,
    "attention blocks": lambda path: path.startswith("transformer_blocks.") and path.endswith(".weight") and "norm" not in path,
    "self-attention": lambda path: (".attn.to_" in path and ".to_add_out" not in path) or ".attn2." in path,
    "all but cross-attention": lambda path: ".attn.add_" not in path and not path.startswith(("proj_out", "norm_out", "time_text_embed")),
    "all": lambda path: True,
}


class StableDiffusion3(FlowModel):
    """The `Model` around a StableDiffusion3Pipeline; its T5 encoder may be left out, as diffusers allows.

    Here no key or value matrix multiplies the token states of the encoders, but their own further layers' (`add_k_proj`, `add_v_proj`); only the
    context embedder reads them as they come.
    """

    family = "stable-diffusion-3"
    network = "transformer"
    encoders = ("text_encoder", "text_encoder_2", "text_encoder_3")
    readers = staticmethod(reads)
    groups = GROUPS

    def __init__(self, pipe: Any, vocabulary: tuple[str, ...]):
        super().__init__(pipe, vocabulary)
        if self.scheduler.config["use_dynamic_shifting"]:
            raise InputError("this model shifts its noise schedule with the size of the picture, which is not supported yet")

    @staticmethod
    def fits(pipe: object) -> bool:
        return isinstance(pipe, StableDiffusion3Pipeline)

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> Condition:
        """The two CLIP encoders' states side by side, T5's behind them; and both pooled states."""
        self.warn_of_cuts(prompts)
        asked = list(prompts)
        states, _, pooled, _ = self.pipe.encode_prompt(asked, asked, asked, device=self.device, do_classifier_free_guidance=False)
        return {STATES: states.to(self.dtype), POOLED: pooled.to(self.dtype)}

    def predict(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        return self.pipe.transformer(x, condition[STATES], condition[POOLED], t, return_dict=False)[0]

    def text_layer(self) -> str:
        raise InputError("this model reads prompts with three text encoders: what works in one of them leaves the concept in the others")

    def hidden(self, prompts: Sequence[str]) -> Tensor:
        raise InputError("this model's text encoders have no one residual stream")

    def cross_attentions(self) -> dict[str, int]:
        raise InputError(f"{JOINT}: there is no cross-attention to put a module behind")

    def attention(self, x: Tensor, t: Tensor, condition: Condition, tokens: Sequence[int]) -> dict[str, Tensor]:
        raise InputError(f"{JOINT}: there are no maps of cross-attention")
