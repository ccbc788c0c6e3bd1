"""Which of a dictionary's names for a concept a model knows.

A dictionary lists rare names ("grunter" for a pig) and names with another meaning ("drone" for a
bee). A model that never learned such a name for the concept encodes it as anything else; to erase
it too would change much else for nothing.
"""

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from ..concepts.retain import DEFAULT_VOCABULARY
from ..concepts.templates import article
from .conditioning import encode_points
from .interface import Model

# By so many standard deviations of common words a name must be nearer to the concept than their
# mean. On the tuning half of the pair benchmark, all 47 names that `emoji` was trained on are at 4
# or more, and of 69 others that share no word with the concept's name 60 are below 2 (the rest are
# such as "moving van" for a truck).
MARGIN = 2.0


class KnownNames:
    """A model's view of names, by the state of the text encoder at the last token of "a NAME".

    Similarity is the cosine of two states, each without the mean state of common words.
    """

    def __init__(self, model: Model):
        self.model = model

    @cached_property
    def common(self) -> dict[str, Tensor]:
        """The state of each common word."""
        return dict(zip(DEFAULT_VOCABULARY, self.states(DEFAULT_VOCABULARY), strict=True))

    def among(self, name: str, others: Sequence[str]) -> list[str]:
        """The names that mean the same to the model, or something near it.

        Args:
            name: What the concept is called.
            others: Other names that a dictionary has for it, or for its members.

        Returns:
            Those of `others` that are nearer to `name` than common words by `MARGIN` standard
            deviations, in the same order.
        """
        if not others:
            return []
        names = {name.lower(), *(other.lower() for other in others)}
        words = torch.stack([s for word, s in self.common.items() if word not in names])
        mean = words.mean(0)
        center = self.states([name]) - mean
        of_words = torch.cosine_similarity(words - mean, center)
        of_others = torch.cosine_similarity(self.states(others) - mean, center)
        bar = of_words.mean() + MARGIN * of_words.std()
        return [other for other, near in zip(others, of_others >= bar, strict=True) if near]

    @torch.no_grad()
    def states(self, names: Sequence[str]) -> Tensor:
        """The state at the last token of each name.

        Args:
            names: N names.

        Returns:
            [N, width] in double precision on the CPU.
        """
        prompts = [article(name) for name in names]
        last = self.model.last_token_index(prompts).cpu()
        batches = []
        for condition in encode_points(self.model, prompts):
            batches.append(condition[self.model.prompt_states_key].cpu().double())
        return torch.cat(batches)[torch.arange(len(prompts)), last]
