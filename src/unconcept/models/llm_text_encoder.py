"""Language models as text encoders: a prompt is read inside a chat template, and what stands around it is read, too."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError

MARK = "§§§"

WITHIN = "a language model reads every prompt of this model inside a template: features of the template would be taken for the concept's"


class Chat:
    """Where a prompt stands among its tokens; for families whose pipeline has one tokenizer, with a template."""

    pipe: Any
    limit: int = 512  # tokens that are read, the template's included
    thinks: bool = True  # does the template leave room for a thought?
    dropped: int = 0  # tokens of the template's beginning that are read, and not given to the denoiser

    def longest(self, n: int, width: int) -> tuple[Tensor, Tensor]:
        """Of a model of shapes, on the device "meta": the states of `n` prompts as long as can be, and that all their tokens are there.
        How long a prompt is hangs on values, which there are none of."""
        states = torch.empty(n, self.limit, width, device="meta", dtype=self.pipe.dtype)
        return states, torch.ones(n, self.limit, dtype=torch.bool, device="meta")

    def text_layer(self) -> str:
        raise InputError(WITHIN)

    def written(self, prompt: str) -> str:
        """The prompt in its template."""
        asked = [{"role": "user", "content": prompt}]
        return self.pipe.tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True, enable_thinking=self.thinks)

    def ids(self, text: str) -> list[int]:
        return self.pipe.tokenizer(text).input_ids

    @property
    def behind(self) -> int:
        """How many tokens of the template stand behind the prompt."""
        return len(self.ids(self.written(MARK).rpartition(MARK)[2]))

    def truncated_text(self, prompt: str) -> str:
        ids = self.ids(self.written(prompt))
        return self.pipe.tokenizer.decode(ids[self.limit + self.dropped : len(ids) - self.behind]).strip()

    def last_token_index(self, prompts: Sequence[str]) -> Tensor:
        lengths = torch.tensor([len(self.ids(self.written(prompt))) for prompt in prompts])
        return (lengths - self.behind).clamp(max=self.limit + self.dropped) - 1 - self.dropped
