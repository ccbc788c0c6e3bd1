"""Prompts in pipelines whose one text encoder is T5, padded to a fixed number of tokens."""

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .interface import Condition
from .pipeline_model import STATES
from .token_embeddings import padded_ids, run_text_encoder
from .tokenizers import texts_behind, token_counts


class T5Prompts:
    """Encodes prompts as the pipeline does: padding is not masked in these families."""

    pipe: Any
    device: Any
    dtype: Any
    warn_of_truncation: Any
    start_tokens: int = 0

    @property
    def text_tokens(self) -> int:
        """Tokens that the denoiser receives: the pipeline's own number."""
        parameters = inspect.signature(type(self.pipe).__call__).parameters
        usual = int(parameters["max_sequence_length"].default)
        return min(usual, self.pipe.tokenizer.model_max_length)

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> Condition:
        """T5's last hidden states, padded to `text_tokens`.

        Args:
            prompts: N prompts; "" is the empty prompt ∅.
        """
        if self.device.type == "meta":
            width = self.pipe.text_encoder.config.d_model
            shape = (len(prompts), self.text_tokens, width)
            return {STATES: torch.empty(shape, device="meta", dtype=self.dtype)}
        self.warn_of_truncation(prompts)
        states, *_ = self.pipe.encode_prompt(
            list(prompts),
            do_classifier_free_guidance=False,
            max_sequence_length=self.text_tokens,
            device=self.device,
        )
        return {STATES: states.to(self.dtype)}

    def tokenize(self, prompts: Sequence[str]) -> Condition:
        """Token ids, padded to `text_tokens`.

        Args:
            prompts: N prompts; "" is the empty prompt ∅.

        Returns:
            Ids [N, tokens] by text encoder.
        """
        ids = padded_ids(self.pipe.tokenizer, list(prompts), self.text_tokens)
        return {"text_encoder": ids.to(self.device)}

    def encode_from(self, vectors: Condition, ids: Condition) -> Condition:
        """Encode token embeddings with T5: its last hidden states.

        Args:
            vectors: Token embeddings by text encoder [N, tokens, width].
            ids: Token ids by text encoder [N, tokens].

        Returns:
            The condition, N rows, with gradients to `vectors`.
        """
        output = run_text_encoder(
            self.pipe.text_encoder, vectors["text_encoder"], ids["text_encoder"]
        )
        return {STATES: output.last_hidden_state.to(self.dtype)}

    def truncated_texts(self, prompts: Sequence[str]) -> list[str]:
        """The part of each prompt that is not read; the end token takes a place.

        Args:
            prompts: N prompts.

        Returns:
            N texts; "" where the whole prompt is read.
        """
        return texts_behind(self.pipe.tokenizer, prompts, self.text_tokens - 1)

    def last_token_index(self, prompts: Sequence[str]) -> Tensor:
        """The token before the end token; of the empty prompt the first one.

        Args:
            prompts: N prompts.

        Returns:
            Indices [N].
        """
        lengths = token_counts(self.pipe.tokenizer, prompts, self.text_tokens)
        return (lengths - 2).clamp(min=0)
