"""Transformers in which text and image share one attention (MMDiT), on top of flow matching.

MMDiT: Esser et al. 2024, arXiv 2403.03206.
"""

from collections.abc import Sequence

from torch import Tensor

from ..errors import InputError
from .flow_matching import FlowModel
from .interface import Condition
from .pipeline_model import STATES, in_all
from .transformer_blocks import in_attention_blocks

POOLED = "pooled_projections"  # [N, width]: CLIP's state of the whole prompt

JOINT = "image and prompt share one attention in this model"

# The warning before training a model whose guidance is an input or does not exist.
DISTILLED = (
    "this model is guidance-distilled and samples without an unconditional branch: the loss uses "
    "its prediction for the empty prompt, at guidance 1, as ε(∅), and λ preserves that prediction"
)

OUTSIDE = ("proj_out", "norm_out", "time_text_embed", "time_guidance_embed")


def reads_states(path: str) -> bool:
    """The context embedder alone: keys and values are computed from its output, layers later.

    Args:
        path: Dotted name of a parameter inside the transformer.

    Returns:
        True for `context_embedder.weight` alone.
    """
    return path == "context_embedder.weight"


def reads_pooled(path: str) -> bool:
    """The layer through which the pooled state is added to the time embedding.

    Args:
        path: Dotted name of a parameter inside the transformer.

    Returns:
        True for `time_text_embed.text_embedder.linear_1.weight` alone.
    """
    return path == "time_text_embed.text_embedder.linear_1.weight"


def in_text_keys_and_values(path: str) -> bool:
    """Keys and values of the text tokens.

    Args:
        path: Dotted name of a parameter inside the transformer.

    Returns:
        True for `transformer_blocks.0.attn.add_k_proj.weight`, False for
        `transformer_blocks.0.attn.add_q_proj.weight`.
    """
    return path.endswith(("attn.add_k_proj.weight", "attn.add_v_proj.weight"))


def in_text_attention(path: str) -> bool:
    """All projections of the text tokens.

    Args:
        path: Dotted name of a parameter inside the transformer.

    Returns:
        True for `transformer_blocks.0.attn.add_q_proj.bias` and
        `transformer_blocks.0.attn.to_add_out.weight`.
    """
    return ".attn.add_" in path or ".attn.to_add_out" in path


def in_prompt_embedders(path: str) -> bool:
    """Everything that reads the encoded prompt directly.

    Args:
        path: Dotted name of a parameter inside the transformer.

    Returns:
        True for `context_embedder.weight` and `time_text_embed.text_embedder.linear_1.weight`.
    """
    return reads_states(path) or reads_pooled(path)


def in_image_attention(path: str) -> bool:
    """All projections of the image tokens.

    Args:
        path: Dotted name of a parameter inside the transformer.

    Returns:
        True for `transformer_blocks.0.attn.to_q.weight`, False for
        `transformer_blocks.0.attn.to_add_out.weight`.
    """
    return (".attn.to_" in path and ".to_add_out" not in path) or ".attn2." in path


def in_all_but_text_attention(path: str) -> bool:
    """Everything except for the text tokens' projections and the first and last layers.

    Args:
        path: Dotted name of a parameter inside the transformer.

    Returns:
        True for `transformer_blocks.0.attn.to_q.weight`, False for
        `transformer_blocks.0.attn.add_k_proj.weight` and `proj_out.weight`.
    """
    return ".attn.add_" not in path and not path.startswith(OUTSIDE)


GROUPS = {
    "cross-attention keys and values": in_text_keys_and_values,
    "cross-attention": in_text_attention,
    "context embedder": reads_states,
    "prompt embedders": in_prompt_embedders,
    "attention blocks": in_attention_blocks,
    "self-attention": in_image_attention,
    "all but cross-attention": in_all_but_text_attention,
    "all": in_all,
}

READERS = {STATES: reads_states, POOLED: reads_pooled}


class JointModel(FlowModel):
    """Text has its own keys and values (`add_k_proj`, `add_v_proj`) in the shared attention.

    They multiply what earlier layers computed from the token states. Whatever needs a separate
    cross-attention is refused.
    """

    network = "transformer"
    readers = READERS
    groups = GROUPS

    def cross_attentions(self) -> dict[str, int]:
        raise InputError(f"{JOINT}: there is no cross-attention to put a module behind")

    def attention(
        self, x: Tensor, t: Tensor, condition: Condition, tokens: Sequence[int]
    ) -> dict[str, Tensor]:
        """Refuse: image and prompt share one attention.

        Args:
            x: Noisy latents [N, C, H, W].
            t: Timesteps [N].
            condition: N encoded prompts.
            tokens: Positions of the tokens among the token states.

        Raises:
            InputError: Always.
        """
        raise InputError(f"{JOINT}: there are no cross-attention maps")
