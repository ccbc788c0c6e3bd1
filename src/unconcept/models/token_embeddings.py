"""CLIP and T5 text encoders, run on token embeddings instead of token ids, with gradients."""

from typing import Any

from torch import Tensor, nn


def run_text_encoder(encoder: Any, vectors: Tensor, ids: Tensor, mask: Tensor | None = None) -> Any:
    """Run a CLIP, T5 or UMT5 text encoder on token embeddings.

    Args:
        encoder: CLIPTextModel, CLIPTextModelWithProjection, T5EncoderModel or UMT5EncoderModel
            of transformers.
        vectors: Token embeddings [N, tokens, width], before positions are added.
        ids: Token ids [N, tokens], from which CLIP reads where a prompt ends.
        mask: Which tokens T5 attends to [N, tokens]; None: all of them.

    Returns:
        The encoder's output object, with all hidden states.
    """
    if encoder.config.model_type in ("t5", "umt5"):
        return encoder(inputs_embeds=vectors, attention_mask=mask, output_hidden_states=True)

    def replace_output(module: nn.Module, args: Any, output: Tensor) -> Tensor:
        return vectors

    # CLIP's text model takes ids alone: its embedding layer returns our vectors in place of its own
    handle = encoder.get_input_embeddings().register_forward_hook(replace_output)
    try:
        return encoder(ids, output_hidden_states=True)
    finally:
        handle.remove()


def padded_ids(tokenizer: Any, prompts: list[str], length: int) -> Tensor:
    """Token ids of prompts, cut and padded to one length.

    Args:
        tokenizer: A tokenizer of transformers.
        prompts: N prompts.
        length: Tokens of each row.

    Returns:
        Ids [N, length] on the CPU.
    """
    batch = tokenizer(
        prompts, padding="max_length", max_length=length, truncation=True, return_tensors="pt"
    )
    return batch.input_ids
