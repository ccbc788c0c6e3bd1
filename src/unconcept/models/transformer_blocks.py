"""Weights of transformer blocks, by their names in diffusers."""


def in_attention_blocks(path: str) -> bool:
    """Every matrix of the transformer blocks.

    Args:
        path: Dotted name of a parameter inside the transformer.

    Returns:
        True for `transformer_blocks.0.attn.to_q.weight`, False for
        `transformer_blocks.0.attn.to_q.bias`; blocks that hold image and text tokens in one stream
        are included.
    """
    return "transformer_blocks." in path and path.endswith(".weight") and "norm" not in path
