"""Ring-A-Bell: tokens whose text states are those of the concept, found without the denoiser.

Source      arXiv 2310.10012, eq. 2 to 4
Idea        the concept as a direction of the text encoder; a genetic search for tokens on it
Equation    v = mean_i E(with_i) − E(without_i),  min_tokens ‖E(tokens) − (E(p) + η v)‖²
Access      whoever has the text encoder and types prompts
Differs     one prompt for all cases, searched from the concept's plain prompt p
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..callbacks import Progress
from ..models.interface import Model
from .interface import Access, Attacked, Plain, Target, Victim
from .sampling import plain
from .tokens import TokenTable, alone, encode_inserted

ENCODED_AT_ONCE = 64


@dataclass(frozen=True)
class RingABell(Plain):
    """Hyperparameters.

    tokens       of the prompt that is searched
    population   of prompts
    generations  of the search
    mutation     share of the prompts of which a token is replaced
    crossover    share of the parents that are crossed with another
    eta          how far along the concept's direction
    """

    access: ClassVar[Access] = "text encoder"
    searches: ClassVar[bool] = True
    own_prompt: ClassVar[bool] = True
    chance_means: ClassVar[str] = "a prompt of random tokens"

    tokens: int = 16
    population: int = 200
    generations: int = 3000
    mutation: float = 0.25
    crossover: float = 0.5
    eta: float = 3.0

    def prepare(self, victim: Victim, target: Target) -> Mapping[str, Attacked]:
        """Search the prompt.

        Args:
            victim: Its text encoder is read.
            target: Its concept has prompts with and without it.

        Raises:
            InputError: The model has several text encoders, or hides their input.
        """
        model, generator = victim.model, torch.Generator().manual_seed(target.seed)
        table = TokenTable.of(model, target.concept)
        with victim.on(), torch.no_grad():
            pairs = target.concept.pairs()
            named, without = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
            aim = states(model, named[:1]) + self.eta * direction(model, named, without)

            def fitness(members: Tensor) -> Tensor:
                distances = []
                for part in members.split(ENCODED_AT_ONCE):
                    distances.append((token_states(model, table, part) - aim).square().sum((1, 2)))
                return torch.cat(distances)

            best = self.evolve(fitness, len(table.allowed), target, generator)
        return {"": plain(victim, target, [table.text(best)])}

    def chance(self, victim: Victim, target: Target) -> Mapping[str, Attacked]:
        """A prompt of random tokens.

        Args:
            victim: The model that is attacked.
            target: Says how images are sampled.
        """
        table = TokenTable.of(victim.model, target.concept)
        rows = table.draw(self.tokens, target.seed)
        return {"": plain(victim, target, [table.text(rows)])}

    def evolve(
        self,
        fitness: Callable[[Tensor], Tensor],
        vocabulary: int,
        target: Target,
        generator: torch.Generator,
    ) -> Tensor:
        """The genetic search: the better half survives, crosses and mutates.

        Args:
            fitness: Tokens [N, tokens] -> distances [N]; the smallest is best.
            vocabulary: Number of tokens.
            target: Receives the progress.
            generator: Draws everything.

        Returns:
            The best tokens [tokens].
        """
        size = (self.population, self.tokens)
        members = torch.randint(vocabulary, size, generator=generator)
        for step in range(self.generations):
            target.progress(Progress("genetic search", step, self.generations))
            order = fitness(members).argsort()
            survivors = members[order[: max(2, self.population // 2)]]
            members = torch.cat([survivors, self.children(survivors, vocabulary, generator)])
        return members[fitness(members).argmin()]

    def children(self, parents: Tensor, vocabulary: int, generator: torch.Generator) -> Tensor:
        """Crossed and mutated copies of the parents, as many as there are.

        Args:
            parents: [N, tokens].
            vocabulary: Number of tokens.
            generator: Draws everything.

        Returns:
            [N, tokens].
        """
        n = len(parents)
        children = parents.clone()
        for i in range(n):
            if torch.rand((), generator=generator) < self.crossover:
                partner = parents[int(torch.randint(n, (), generator=generator))]
                cut = int(torch.randint(1, max(2, self.tokens), (), generator=generator))
                children[i, cut:] = partner[cut:]
            if torch.rand((), generator=generator) < self.mutation:
                place = int(torch.randint(self.tokens, (), generator=generator))
                children[i, place] = torch.randint(vocabulary, (), generator=generator)
        return children


def states(model: Model, prompts) -> Tensor:
    """Token states [N, tokens, width] of prompts.

    Args:
        model: Its text encoder is used.
        prompts: N prompts.
    """
    encoded = []
    for i in range(0, len(prompts), ENCODED_AT_ONCE):
        encoded.append(model.encode(prompts[i : i + ENCODED_AT_ONCE])[model.prompt_states_key])
    return torch.cat(encoded).float()


def direction(model: Model, named, without) -> Tensor:
    """The concept as a direction: the mean difference of the states of prompt pairs.

    Args:
        model: Its text encoder is used.
        named: N prompts with the concept.
        without: The same without it.

    Returns:
        [tokens, width].
    """
    return (states(model, named) - states(model, without)).mean(0)


def token_states(model: Model, table: TokenTable, members: Tensor) -> Tensor:
    """States of prompts that consist of tokens.

    Args:
        model: Its text encoder is used.
        table: The tokens.
        members: Indices into it [N, n].

    Returns:
        [N, tokens, width].
    """
    encoded = []
    for row in members:
        new = (table.vectors[row], table.allowed[row])
        encoded.append(encode_inserted(model, table, new, alone, [""])[model.prompt_states_key])
    return torch.cat(encoded).float()
