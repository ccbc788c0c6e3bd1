"""Networks with a separate cross-attention `attn2`: keys and values of the prompt, image
queries.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .interface import Condition
from .pipeline_model import STATES, PipelineModel, in_all


def reads_states(path: str) -> bool:
    """Every key and value matrix of a cross-attention."""
    return path.endswith(("attn2.to_k.weight", "attn2.to_v.weight"))


def in_cross_attention(path: str) -> bool:
    """Every parameter of a cross-attention."""
    return ".attn2." in path


def in_self_attention(path: str) -> bool:
    """Every parameter of a self-attention."""
    return ".attn1." in path


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
            if path.endswith(".attn2"):
                widths[f"{self.network}.{path}"] = module.to_out[0].out_features
        return widths

    @torch.no_grad()
    def attention(
        self, x: Tensor, t: Tensor, condition: Condition, tokens: Sequence[int]
    ) -> dict[str, Tensor]:
        """softmax(q kᵀ / √d) of every attn2, computed beside the model's own attention.

        The model's own need not form this matrix.

        Args:
            x: Noisy latents [N, C, H, W].
            t: Timesteps [N].
            condition: N encoded prompts.
            tokens: Positions of the tokens among the token states.

        Returns:
            By module [N, h, w] in [0, 1], mean over heads and sum over tokens.
        """
        maps: dict[str, Tensor] = {}
        handles = []
        for site in self.cross_attentions():
            module = self.denoiser.get_submodule(site.removeprefix(f"{self.network}."))

            def record(module: Any, args: tuple, kwargs: dict, site: str = site) -> None:
                scores = attention_scores(module, args[0] if args else None, kwargs)
                share = scores.unflatten(0, (len(x), -1)).mean(1)[..., list(tokens)].sum(-1)
                side = round(share.shape[1] ** 0.5)
                maps[site] = share.unflatten(1, (side, side))

            handles.append(module.register_forward_pre_hook(record, with_kwargs=True))
        try:
            self.predict(x, t, condition)
        finally:
            for handle in handles:
                handle.remove()
        return maps


def attention_scores(module: Any, hidden: Tensor | None, kwargs: dict) -> Tensor:
    """The attention probabilities of one call of a cross-attention.

    Args:
        module: An Attention of diffusers.
        hidden: Its first positional argument, or None where it was passed by name.
        kwargs: Its named arguments.

    Returns:
        Probabilities [N x heads, places, tokens].
    """
    q = module.to_q(kwargs["hidden_states"] if hidden is None else hidden)
    k = module.to_k(kwargs["encoder_hidden_states"])
    if module.norm_q is not None:
        q, k = module.norm_q(q), module.norm_k(k)
    mask = kwargs.get("attention_mask")
    if mask is not None:
        mask = mask.repeat_interleave(module.heads, 0)
    return module.get_attention_scores(
        module.head_to_batch_dim(q), module.head_to_batch_dim(k), mask
    )
