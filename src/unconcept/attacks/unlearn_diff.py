"""UnlearnDiffAtk: tokens in front of the prompt, found through the erased model alone.

Source      To Generate or Not?, arXiv 2310.11868, eq. 5 and algorithm 1
Idea        the erased model is its own classifier: tokens under which it predicts the noise in an
            image of the concept
Equation    A ∈ simplex^{k×V};  min_A E ‖ε − ε_θ(x_t, t, [onehot(A) E; c])‖²,
            A ← Π_simplex(Adam step), straight-through from a sampled one-hot
Access      whoever has the weights, and an image
Differs     one prefix for all prompts instead of one for each prompt and seed; no early stopping by
            the judge, because the judge also reports. Style and object prompts have k = 3
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from ..callbacks import Progress
from .denoising import denoising_loss, image_latents, learn
from .interface import Attacked, Cases, Plain, Target, Victim
from .sampling import Walk, encoded_by, sample
from .tokens import (
    Placement,
    TokenTable,
    encode_inserted,
    in_front,
    project_to_simplex,
)


@dataclass(frozen=True)
class UnlearnDiffAtk(Plain):
    """Hyperparameters.

    tokens        k, in front of the prompt
    timesteps     evenly spaced, from the least noise to the most
    iterations    at each of them
    lr            of Adam
    weight_decay  of Adam
    batch         images per step
    """

    searches: ClassVar[bool] = True
    behind_prompt: ClassVar[bool] = True
    chance_means: ClassVar[str] = "random tokens of the same number"

    tokens: int = 3
    timesteps: int = 50
    iterations: int = 40
    lr: float = 0.01
    weight_decay: float = 0.1
    batch: int = 1

    def prepare(self, victim: Victim, target: Target) -> Mapping[str, Attacked]:
        """Find the tokens.

        Args:
            victim: The model that is attacked.
            target: Its images are what the tokens are to explain.

        Raises:
            InputError: The model has several text encoders, or hides their input.
        """
        model, generator = victim.model, torch.Generator().manual_seed(target.seed)
        table = TokenTable.of(model, target.concept)
        latents = image_latents(model, target.images)
        A = torch.full((self.tokens, len(table.allowed)), 1 / len(table.allowed))
        A.requires_grad_()
        optimizer = torch.optim.Adam([A], lr=self.lr, weight_decay=self.weight_decay)
        with victim.on():
            for k in range(self.timesteps):
                target.progress(Progress("searching tokens", k, self.timesteps))
                step = (2 * k + 1) * model.timesteps // (2 * self.timesteps)
                for _ in range(self.iterations):
                    rows = torch.randint(len(latents), (self.batch,), generator=generator)
                    typed = [target.search.prompts[i] for i in rows.tolist()]
                    picked = A.detach().clamp(min=0).multinomial(1, generator=generator)[:, 0]
                    t = torch.full((self.batch,), step)

                    def loss(picked=picked, rows=rows, typed=typed, t=t) -> Tensor:
                        new = straight_through(A, picked) @ table.vectors
                        added = (new, table.allowed[picked])
                        c = encode_inserted(model, table, added, in_front, typed)
                        return denoising_loss(model, latents[rows], c, generator, t)

                    learn([A], loss, optimizer)
                    with torch.no_grad():
                        A.copy_(project_to_simplex(A))
        return {"": prefixed(victim, target, table, A.detach().argmax(1), in_front)}

    def chance(self, victim: Victim, target: Target) -> Mapping[str, Attacked]:
        """Random tokens.

        Args:
            victim: The model that is attacked.
            target: Says how images are sampled.
        """
        table = TokenTable.of(victim.model, target.concept)
        rows = table.draw(self.tokens, target.seed)
        return {"": prefixed(victim, target, table, rows, in_front)}


def straight_through(A: Tensor, picked: Tensor) -> Tensor:
    """One-hot rows whose gradient goes to A, clipped to [-1, 1] (a hard tanh).

    Args:
        A: [n, V].
        picked: Column of the one in each row [n].

    Returns:
        [n, V].
    """
    passed = A.clone()
    if passed.requires_grad:
        passed.register_hook(partial(torch.clamp, min=-1.0, max=1.0))
    return one_hot(picked, A.shape[1]).to(A) + passed - passed.detach()


def prefixed(
    victim: Victim, target: Target, table: TokenTable, rows: Tensor, place: Placement
) -> Attacked:
    """Cases with tokens inserted into their prompts.

    Args:
        victim: The model that is attacked.
        target: Says how images are sampled.
        table: The tokens.
        rows: Which of them [n].
        place: Where they stand.
    """
    new = (table.vectors[rows], table.allowed[rows])
    encode = partial(encode_inserted, victim.model, table, new, place)
    walk = Walk(target.sampling, around=partial(encoded_by, encode=encode))

    def sample_cases(cases: Cases) -> Tensor:
        return sample(victim, cases, walk)

    return Attacked(sample_cases, found=table.text(rows))
