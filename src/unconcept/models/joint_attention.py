"""Transformers in which words and picture look at each other in one attention (MMDiT: Esser et al. 2024), on top of flow matching."""

from collections.abc import Sequence

from torch import Tensor

from ..errors import InputError
from .flow_matching import FlowModel
from .interface import Condition
from .pipeline_model import STATES

POOLED = "pooled_projections"  # [N, width]: what CLIP's encoders say of the whole prompt

JOINT = "pictures and prompts are read by the same attention in this model"


def reads(path: str) -> bool:
    """The context embedder alone: keys and values are made of what comes out of it and of the layers behind it."""
    return path == "context_embedder.weight"


def reads_pooled(path: str) -> bool:
    """Where the pooled state comes in, to be added to the time."""
    return path == "time_text_embed.text_embedder.linear_1.weight"


GROUPS = {
    "cross-attention keys and values": lambda path: path.endswith(("attn.add_k_proj.weight", "attn.add_v_proj.weight")),
    "cross-attention": lambda path: ".attn.add_" in path or ".attn.to_add_out" in path,
    "context embedder": reads,
    "prompt embedders": lambda path: reads(path) or reads_pooled(path),
    "attention blocks": lambda path: "transformer_blocks." in path and path.endswith(".weight") and "norm" not in path,
    "self-attention": lambda path: (".attn.to_" in path and ".to_add_out" not in path) or ".attn2." in path,
    "all but cross-attention": lambda path: (
        ".attn.add_" not in path and not path.startswith(("proj_out", "norm_out", "time_text_embed", "time_guidance_embed"))
    ),
    "all": lambda path: True,
}


READERS = {STATES: reads, POOLED: reads_pooled}


class JointModel(FlowModel):
    """Words have keys and values of their own (`add_k_proj`, `add_v_proj`), but these multiply what earlier layers made of the token states.

    What needs a cross-attention of its own is refused.
    """

    network = "transformer"
    readers = READERS
    groups = GROUPS

    def cross_attentions(self) -> dict[str, int]:
        raise InputError(f"{JOINT}: there is no cross-attention to put a module behind")

    def attention(self, x: Tensor, t: Tensor, condition: Condition, tokens: Sequence[int]) -> dict[str, Tensor]:
        raise InputError(f"{JOINT}: there are no maps of cross-attention")
