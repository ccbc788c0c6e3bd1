"""Networks in which pictures read the prompt by an attention of its own, `attn2`: keys and values of the words, queries of the picture."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .interface import Condition
from .pipeline_model import STATES, PipelineModel


def reads(path: str) -> bool:
    """Every key and value matrix of a cross-attention."""
    return path.endswith(("attn2.to_k.weight", "attn2.to_v.weight"))


GROUPS = {
    "cross-attention keys and values": reads,
    "cross-attention": lambda path: ".attn2." in path,
    "self-attention": lambda path: ".attn1." in path,
    "all": lambda path: True,
}


READERS = {STATES: reads}


class CrossModel(PipelineModel):
    """What families with a cross-attention share."""

    readers = READERS

    def cross_attentions(self) -> dict[str, int]:
        named = self.denoiser.named_modules()
        return {f"{self.network}.{path}": module.to_out[0].out_features for path, module in named if path.endswith(".attn2")}

    @torch.no_grad()
    def attention(self, x: Tensor, t: Tensor, condition: Condition, tokens: Sequence[int]) -> dict[str, Tensor]:
        """softmax(q kᵀ / √d) of every attn2, computed again beside the model's own (which need not form it)."""
        maps: dict[str, Tensor] = {}
        handles = []
        for site in self.cross_attentions():
            module = self.denoiser.get_submodule(site.removeprefix(f"{self.network}."))

            def look(module: Any, args: tuple, kwargs: dict, site: str = site) -> None:
                q, k = module.to_q(args[0] if args else kwargs["hidden_states"]), module.to_k(kwargs["encoder_hidden_states"])
                if module.norm_q is not None:
                    q, k = module.norm_q(q), module.norm_k(k)
                mask = kwargs.get("attention_mask")
                mask = mask if mask is None else mask.repeat_interleave(module.heads, 0)
                scores = module.get_attention_scores(module.head_to_batch_dim(q), module.head_to_batch_dim(k), mask)
                probability = scores.unflatten(0, (len(x), -1)).mean(1)[..., list(tokens)].sum(-1)
                side = round(probability.shape[1] ** 0.5)
                maps[site] = probability.unflatten(1, (side, side))

            handles.append(module.register_forward_pre_hook(look, with_kwargs=True))
        try:
            self.predict(x, t, condition)
        finally:
            for handle in handles:
                handle.remove()
        return maps
