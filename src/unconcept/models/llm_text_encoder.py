"""Language models as text encoders: a prompt is encoded inside a chat template."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError

MARK = "§§§"  # stands for the prompt where the template around it is measured

WITHIN = (
    "a language model encodes every prompt of this model inside a template: features of the "
    "template would be mistaken for the concept's"
)


class Chat:
    """Where a prompt stands among its tokens, for pipelines with one tokenizer and a template.

    limit     tokens that the denoiser receives, the template's included
    thinking  does the template leave room for the language model's reasoning?
    dropped   first tokens of the template, encoded and not passed to the denoiser
    """

    pipe: Any
    limit: int = 512
    thinking: bool = True
    dropped: int = 0

    def meta_states(self, n: int, width: int) -> tuple[Tensor, Tensor]:
        """States and mask on the device "meta", where token counts cannot be computed.

        Args:
            n: Number of prompts.
            width: Width of the token states.

        Returns:
            The states [n, limit, width] of prompts of the greatest length, and their mask.
        """
        states = torch.empty(n, self.limit, width, device="meta", dtype=self.pipe.dtype)
        return states, torch.ones(n, self.limit, dtype=torch.bool, device="meta")

    def text_layer(self) -> str:
        raise InputError(WITHIN)

    def in_template(self, prompt: str) -> str:
        """The text that the language model encodes for a prompt.

        Args:
            prompt: A prompt of any length; "" is the empty prompt ∅.
        """
        chat = [{"role": "user", "content": prompt}]
        return self.pipe.tokenizer.apply_chat_template(
            chat, tokenize=False, add_generation_prompt=True, enable_thinking=self.thinking
        )

    def token_ids(self, text: str) -> list[int]:
        """Token ids of a text, which holds its template already.

        Args:
            text: What `in_template` returns.

        Returns:
            The ids of all its tokens, those of the template included; nothing is cut off.
        """
        return self.pipe.tokenizer(text).input_ids

    @property
    def suffix_length(self) -> int:
        """How many tokens of the template follow the prompt."""
        suffix = self.in_template(MARK).rpartition(MARK)[2]
        return len(self.pipe.tokenizer(suffix, add_special_tokens=False).input_ids)

    def truncated_texts(self, prompts: Sequence[str]) -> list[str]:
        """The part of each prompt that does not fit; "" where the whole prompt is read.

        Args:
            prompts: N prompts without the template.
        """
        texts = []
        suffix = self.suffix_length
        for prompt in prompts:
            ids = self.token_ids(self.in_template(prompt))
            lost = ids[self.limit + self.dropped : len(ids) - suffix]
            texts.append(self.pipe.tokenizer.decode(lost).strip() if lost else "")
        return texts

    def last_token_index(self, prompts: Sequence[str]) -> Tensor:
        lengths = [len(self.token_ids(self.in_template(prompt))) for prompt in prompts]
        ends = torch.tensor(lengths) - self.suffix_length
        return ends.clamp(max=self.limit + self.dropped) - 1 - self.dropped
