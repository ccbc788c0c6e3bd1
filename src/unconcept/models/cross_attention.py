"""Networks with a separate cross-attention `attn2`: keys and values of the prompt, image
queries.
"""

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .interface import Condition
from .pipeline_model import STATES, PipelineModel, in_all

# Parts of a video network whose attention runs along time. Their `attn2` is a second
# self-attention: it does not read the prompt.
TEMPORAL = ("motion_modules", "temp_attentions", "transformer_in")


def is_temporal(path: str) -> bool:
    """Does a module, named by its path, attend along time?"""
    return any(part in TEMPORAL for part in path.split("."))


def reads_states(path: str) -> bool:
    """Every key and value matrix of a cross-attention."""
    return path.endswith(("attn2.to_k.weight", "attn2.to_v.weight")) and not is_temporal(path)


def in_cross_attention(path: str) -> bool:
    """Every parameter of a cross-attention."""
    return ".attn2." in path and not is_temporal(path)


def in_self_attention(path: str) -> bool:
    """Every parameter of a self-attention within an image or frame."""
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
        maps: dict[str, Tensor] = {}
        handles = []
        for site in self.cross_attentions():
            component, _, path = site.partition(".")
            module = self.components[component].get_submodule(path)

            def record(module: Any, args: tuple, kwargs: dict, site: str = site) -> None:
                share = attention_share(module, args, kwargs, tokens)
                maps[site] = to_maps(share, x, self.token_frames(x))

            handles.append(module.register_forward_pre_hook(record, with_kwargs=True))
        try:
            self.predict_everywhere(x, t, condition)
        finally:
            for handle in handles:
                handle.remove()
        return maps


def to_maps(share: Tensor, x: Tensor, frames: int) -> Tensor:
    """Put the values of places where the places are.

    Args:
        share: One value for each place: [N, frames · h · w] or [N · frames, h · w].
        x: Latents of N images or clips, whose last two axes are height and width.
        frames: Frames of tokens.

    Returns:
        [N, h, w], of clips [N, frames, h, w].
    """
    height, width = x.shape[-2:]
    h = round((share.numel() / (len(x) * frames) * height / width) ** 0.5)
    maps = share.reshape(len(x), frames, h, -1)
    return maps if x.ndim == 5 else maps[:, 0]


def attention_share(module: Any, args: tuple, kwargs: dict, tokens: Sequence[int]) -> Tensor:
    """How much of the attention of each place goes to some tokens, in one call of an attention.

    Args:
        module: An attention of diffusers.
        args: Its positional arguments.
        kwargs: Its named arguments.
        tokens: Positions of the tokens.

    Returns:
        [N, places] in [0, 1]: mean over heads and sum over tokens.
    """
    # not every attention names what it passes on to its processor
    names = list(inspect.signature(module.forward).parameters)
    arguments = {**dict(zip(names, args)), **kwargs}
    q = split_heads(module.to_q(arguments["hidden_states"]), module.norm_q, module.heads)
    k = split_heads(module.to_k(arguments["encoder_hidden_states"]), module.norm_k, module.heads)
    mask = arguments.get("attention_mask")
    share = torch.zeros(q.shape[0], q.shape[2], device=q.device)
    for head in range(module.heads):  # one at a time: a clip has many places
        scores = (q[:, head] @ k[:, head].transpose(1, 2)).float() * q.shape[-1] ** -0.5
        if mask is not None:
            scores = scores + mask.reshape(len(scores), -1, scores.shape[-1])
        share += scores.softmax(-1)[..., list(tokens)].sum(-1)
    return share / module.heads


def split_heads(y: Tensor, norm: Any, heads: int) -> Tensor:
    """Split queries or keys by head and normalize them, each head or all of them together.

    Args:
        y: [N, places, heads · d].
        norm: The attention's norm of them, of width d or heads · d; None: they have none.
        heads: Number of heads.

    Returns:
        [N, heads, places, d]
    """
    if norm is not None and norm.weight.numel() == y.shape[-1]:
        return norm(y).unflatten(-1, (heads, -1)).transpose(1, 2)
    split = y.unflatten(-1, (heads, -1)).transpose(1, 2)
    return split if norm is None else norm(split)
