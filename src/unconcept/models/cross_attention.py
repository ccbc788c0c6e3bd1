"""Networks with a separate cross-attention `attn2`: keys and values of the prompt, image
queries.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from .attention_share import cross_share, modules_at, record_maps, to_maps
from .interface import Condition
from .pipeline_model import STATES, PipelineModel, in_all

# Parts of a video network whose attention runs along time. Their `attn2` is a second
# self-attention: it does not read the prompt.
TEMPORAL = ("motion_modules", "temp_attentions", "transformer_in")


def is_temporal(path: str) -> bool:
    """Does a module, named by its path, attend along time?

    Args:
        path: Dotted name of a module or parameter inside the denoiser.

    Returns:
        True below one of `TEMPORAL`, for example
        `down_blocks.0.motion_modules.0.transformer_blocks.0.attn2`.
    """
    return any(part in TEMPORAL for part in path.split("."))


def reads_states(path: str) -> bool:
    """Every key and value matrix of a cross-attention.

    Args:
        path: Dotted name of a parameter inside the denoiser.

    Returns:
        True for `down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight`, False for its
        `to_q.weight`.
    """
    return path.endswith(("attn2.to_k.weight", "attn2.to_v.weight")) and not is_temporal(path)


def in_cross_attention(path: str) -> bool:
    """Every parameter of a cross-attention.

    Args:
        path: Dotted name of a parameter inside the denoiser.

    Returns:
        True for `down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_out.0.bias`, False for
        parameters of its `attn1`.
    """
    return ".attn2." in path and not is_temporal(path)


def in_self_attention(path: str) -> bool:
    """Every parameter of a self-attention within an image or frame.

    Args:
        path: Dotted name of a parameter inside the denoiser.

    Returns:
        True for `down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.weight`, False for
        parameters of its `attn2` and of motion modules.
    """
    return ".attn1." in path and not is_temporal(path)


GROUPS = {
    "cross-attention keys and values": reads_states,
    "cross-attention": in_cross_attention,
    "self-attention": in_self_attention,
    "all": in_all,
}

READERS = {STATES: reads_states}


class CrossModel(PipelineModel):
    """What families with a separate cross-attention share."""

    readers = READERS

    def cross_attentions(self) -> dict[str, int]:
        widths = {}
        for path, module in self.denoiser.named_modules():
            if path.endswith(".attn2") and not is_temporal(path):
                widths[f"{self.network}.{path}"] = module.to_out[0].out_features
        return widths

    def token_frames(self, x: Tensor) -> int:
        """How many frames of tokens the denoiser makes of latents; of an image 1.

        Args:
            x: Latents of N images or clips.
        """
        return 1

    def predict_everywhere(self, x: Tensor, t: Tensor, condition: Condition) -> None:
        """Send all rows through every cross-attention.

        Args:
            x: Noisy latents [N, C, H, W], or of clips.
            t: Timesteps [N].
            condition: N encoded prompts.
        """
        self.predict(x, t, condition)

    @torch.no_grad()
    def attention(
        self, x: Tensor, t: Tensor, condition: Condition, tokens: Sequence[int]
    ) -> dict[str, Tensor]:
        """softmax(q kᵀ / √d) of every attn2, computed beside the model's own attention.

        The model's own need not form this matrix.

        Args:
            x: Noisy latents [N, C, H, W], or of clips.
            t: Timesteps [N].
            condition: N encoded prompts.
            tokens: Positions of the tokens among the token states.

        Returns:
            By module [N, h, w] in [0, 1], of clips [N, frames, h, w]: mean over heads and sum
            over tokens.
        """
        modules = modules_at(self.components, self.cross_attentions())

        def to_map(module: Any, args: tuple, kwargs: dict) -> Tensor:
            return to_maps(cross_share(module, args, kwargs, tokens), x, self.token_frames(x))

        return record_maps(modules, to_map, partial(self.predict_everywhere, x, t, condition))
