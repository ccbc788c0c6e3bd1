"""MMA-Diffusion, its text half: a prompt whose pooled state is that of the concept's prompt.

Source      arXiv 2311.17516, eq. 1 and 2; the search is GCG, arXiv 2307.15043
Idea        other words with the same meaning to the text encoder
Equation    max_tokens cos(pooled(tokens), pooled(p)) by single swaps out of the 256 tokens of every
            place with the best gradient
Access      whoever has the text encoder and types prompts
Differs     one prompt for all cases; the image half, an attack on safety checkers, is left out
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, one_hot

from ..callbacks import Progress
from ..models.interface import Model
from .interface import Access, Attacked, Plain, Target, Victim
from .sampling import plain
from .tokens import TokenTable, alone, encode_inserted


@dataclass(frozen=True)
class MMA(Plain):
    """Hyperparameters.

    tokens      of the prompt that is searched
    steps       swaps at most
    top         tokens of every place that may be swapped in
    candidates  single swaps that are tried in a step
    """

    access: ClassVar[Access] = "text encoder"
    searches: ClassVar[bool] = True
    own_prompt: ClassVar[bool] = True
    chance_means: ClassVar[str] = "the prompt of random tokens that the search begins with"

    tokens: int = 20
    steps: int = 500
    top: int = 256
    candidates: int = 512

    def prepare(self, victim: Victim, target: Target) -> Mapping[str, Attacked]:
        """Search the prompt.

        Args:
            victim: Its text encoder is read.
            target: Its concept's plain prompt is what is imitated.

        Raises:
            InputError: The model has several text encoders, or hides their input.
        """
        model, generator = victim.model, torch.Generator().manual_seed(target.seed)
        table = TokenTable.of(model, target.concept)
        rows = self.first(table, generator)
        with victim.on():
            prompt = target.concept.pairs()[0][0]
            c = model.encode([prompt])[model.prompt_states_key]
            aim = c[:, model.last_token_index([prompt])[0] + 1].float()
            for step in range(self.steps):
                target.progress(Progress("searching tokens", step, self.steps))
                rows = self.swap(model, table, rows, aim, generator)
        return {"": plain(victim, target, [table.text(rows)])}

    def chance(self, victim: Victim, target: Target) -> Mapping[str, Attacked]:
        """The prompt that the search begins with.

        Args:
            victim: The model that is attacked.
            target: Says how images are sampled.
        """
        table = TokenTable.of(victim.model, target.concept)
        rows = self.first(table, torch.Generator().manual_seed(target.seed))
        return {"": plain(victim, target, [table.text(rows)])}

    def first(self, table: TokenTable, generator: torch.Generator) -> Tensor:
        """Random tokens [tokens]: indices into the table.

        Args:
            table: The tokens.
            generator: Draws them.
        """
        return torch.randint(len(table.allowed), (self.tokens,), generator=generator)

    def swap(self, model: Model, table: TokenTable, rows: Tensor, aim: Tensor, generator) -> Tensor:
        """The best of some prompts in which one token is replaced, or the prompt itself.

        Args:
            model: Its text encoder is used.
            table: The tokens.
            rows: The present tokens [n].
            aim: The pooled state [1, width] to come near to.
            generator: Draws the candidates.

        Returns:
            Tokens [n] that survive decoding and encoding.
        """
        hot = one_hot(rows, len(table.allowed)).float().requires_grad_()
        with torch.enable_grad():
            likeness = self.likeness(model, table, (hot @ table.vectors, rows), aim)
            (gradient,) = torch.autograd.grad(likeness, [hot])
        promising = gradient.topk(min(self.top, len(table.allowed)), dim=1).indices
        best, best_likeness = rows, likeness.item()
        for _ in range(self.candidates):
            place = int(torch.randint(self.tokens, (), generator=generator))
            other = rows.clone()
            column = int(torch.randint(promising.shape[1], (), generator=generator))
            other[place] = promising[place, column]
            if not survives(table, other):
                continue
            with torch.no_grad():
                value = self.likeness(model, table, (table.vectors[other], other), aim).item()
            if value > best_likeness:
                best, best_likeness = other, value
        return best

    def likeness(self, model: Model, table: TokenTable, new, aim: Tensor) -> Tensor:
        """Cosine of the pooled state of tokens to an aim.

        Args:
            model: Its text encoder is used.
            table: The tokens.
            new: Embeddings [n, width] and indices into the table [n].
            aim: [1, width].
        """
        added = (new[0], table.allowed[new[1]])
        states = encode_inserted(model, table, added, alone, [""])[model.prompt_states_key]
        return cosine_similarity(states[:, self.tokens + 1].float(), aim)[0]


def survives(table: TokenTable, rows: Tensor) -> bool:
    """Are tokens the same after they are written as text and read again?

    Args:
        table: The tokens.
        rows: Indices into it [n].
    """
    ids = table.allowed[rows].tolist()
    text = table.tokenizer.decode(ids)
    return table.tokenizer(text, add_special_tokens=False).input_ids == ids
