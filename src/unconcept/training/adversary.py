"""The adversary inside the training: token states that bring back, through the student, what the original drew.

P ← Adam step on  ‖ε_θ(x, c̃) − ε*(x, c)‖²,      c̃: the states of c with P behind the concept's own       (Receler, Huang et al. 2024)
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from ..models.conditioning import where_rows
from ..models.interface import Condition
from .replay import Replay


class Adversary:
    """Learnt states P [prompts, n, width], which stay from one training step to the next.

    words  the entry of a condition that holds token states;  lr, steps: of the attack, in every training step
    decay  Adam's weight decay on P: Receler's. Errors of a prediction are small, and so it pulls P towards 0 more than they pull anywhere
    """

    def __init__(
        self, prompts: int, n: int, width: int, words: str, *, steps: int, lr: float, generator: torch.Generator, decay: float = 0.1
    ):  # fmt: skip
        self.words, self.steps, self.lr, self.decay = words, steps, lr, decay
        self.P = torch.cat([torch.rand(1, n, width, generator=generator) for _ in range(prompts)])

    def attack(
        self, student: Callable[[Tensor, Tensor, Condition], Tensor], x: Tensor, t: Tensor, c: Condition, ends: Tensor, of: Tensor, said: Tensor
    ) -> None:  # fmt: skip
        """`steps` steps against the student as it is. c: what is asked [N], ends: where its last tokens stand [N], of: whose P [N]."""
        own, rows = of.cpu().unique(return_inverse=True)
        P = self.P[own].requires_grad_()
        optimizer = torch.optim.Adam([P], lr=self.lr, weight_decay=self.decay)
        for _ in range(self.steps):
            found = (student(x, t, append_states(c, self.words, P[rows], ends)) - said).square().mean()
            (P.grad,) = torch.autograd.grad(found, [P])
            optimizer.step()
        self.P[own] = P.detach()

    def disguised(self, c: Condition, ends: Tensor, of: Tensor) -> Condition:
        """c̃ [N]"""
        return append_states(c, self.words, self.P[of.cpu()], ends)

    def within(self, z: Replay, student: Callable[[Tensor, Tensor, Condition], Tensor], of: Tensor) -> Replay:
        """Every other point of a batch asks for the concept with P at the end of the prompt, found against the student as it is.

        The end is the last tokens that the model takes, and of models that mask what is not there the tokens behind the prompt's own.
        Where nothing is trained, at a look at the held-out part, nobody attacks: losses there can be compared from look to look.
        """
        if not torch.is_grad_enabled():
            return z
        c, n = z.conditions["c"], self.P.shape[1]
        last = torch.full((len(z),), c[self.words].shape[1] - n - 1)
        there = [mask.long().cumsum(1).argmax(1).cpu() for mask in attention_masks(c, self.words).values()]
        ends = torch.stack([last, *there]).amin(0)
        self.attack(student, z.x, z.t, c, ends, of, z.targets["c"])
        return replace(z, conditions={**z.conditions, "c": where_rows(z.second(), self.disguised(c, ends, of), c)})


def append_states(c: Condition, words: str, P: Tensor, ends: Tensor) -> Condition:
    """The condition with P [N, n, width] in place of the states behind the tokens `ends` [N], as many as there is room for; P is not masked."""
    states = c[words]
    place = ends[:, None] + 1 + torch.arange(P.shape[1])
    row, column = (place < states.shape[1]).nonzero(as_tuple=True)
    where = row.to(states.device), place[row, column].to(states.device)
    seen = {name: mask.index_put(where, torch.ones_like(mask[where])) for name, mask in attention_masks(c, words).items()}
    return {**c, **seen, words: states.index_put(where, P.to(states)[row, column])}


def attention_masks(c: Condition, words: str) -> dict[str, Tensor]:
    """By name the condition's masks [N, tokens]: which tokens there are."""
    return {name: mask for name, mask in c.items() if mask.shape == c[words].shape[:2] and not mask.is_floating_point()}
