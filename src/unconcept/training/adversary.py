"""An adversary within the training: token states with which the student draws the concept again.

P ← Adam step on  ‖ε_θ(x, c̃) − ε*(x, c)‖²       (Receler, Huang et al. 2024)

c̃: the states of c, with P behind the prompt's last token
"""

from dataclasses import replace

import torch
from torch import Tensor

from ..models.conditioning import where_rows
from ..models.interface import Condition
from .replay import Replay
from .replay_trainer import Student


def random_states(prompts: int, tokens: int, width: int, generator: torch.Generator) -> Tensor:
    """Where an adversary begins.

    Args:
        prompts: Number of prompts with states of their own.
        tokens: States of each prompt.
        width: Of a token state.
        generator: Draws the states.

    Returns:
        P [prompts, tokens, width], uniform in [0, 1).
    """
    states = [torch.rand(1, tokens, width, generator=generator) for _ in range(prompts)]
    return torch.cat(states)


class Adversary:
    """Learned states P, which are kept from one training step to the next.

    Args:
        P: [prompts, tokens, width]; updated in place.
        states_key: The entry of a condition that holds token states.
        steps: Of an attack; there is one attack in every training step.
        lr: Learning rate of Adam on P.
        decay: Weight decay of Adam on P; the default is Receler's. Gradients are small, so it
            draws P towards 0 more than they draw it anywhere.
    """

    def __init__(self, P: Tensor, states_key: str, *, steps: int, lr: float, decay: float = 0.1):
        self.P = P
        self.states_key = states_key
        self.steps = steps
        self.lr = lr
        self.decay = decay

    def attack(self, student: Student, z: Replay, last_token: Tensor, prompt: Tensor) -> None:
        """Train P for `steps` steps against the student as it is now.

        Args:
            student: To be attacked; its own gradients are not touched.
            z: Points [N] with the concept's condition and the teacher's prediction in role "c".
            last_token: Index of the last token of each condition [N]; P is written behind it.
            prompt: Whose P each point uses [N].
        """
        attacked, rows = prompt.cpu().unique(return_inverse=True)
        P = self.P[attacked].requires_grad_()
        optimizer = torch.optim.Adam([P], lr=self.lr, weight_decay=self.decay)
        c, target = z.conditions["c"], z.targets["c"]
        for _ in range(self.steps):
            disguised = append_states(c, self.states_key, P[rows], last_token)
            loss = (student(z.x, z.t, disguised) - target).square().mean()
            (P.grad,) = torch.autograd.grad(loss, [P])
            optimizer.step()
        self.P[attacked] = P.detach()

    def disguise(self, c: Condition, last_token: Tensor, prompt: Tensor) -> Condition:
        """c̃ of a condition.

        Args:
            c: N rows.
            last_token: Index of the last token of each row [N].
            prompt: Whose P each row uses [N].

        Returns:
            The condition with P behind the last tokens.
        """
        return append_states(c, self.states_key, self.P[prompt.cpu()], last_token)

    def disguise_batch(self, z: Replay, student: Student, prompt: Tensor) -> Replay:
        """Attack the student, then give every other point of the batch the disguised condition.

        P stands at the end of what the model reads; in models with masks, behind the prompt's own
        tokens. Without gradients, when the held-out loss is measured, nothing is attacked and
        nothing is disguised, so that held-out losses stay comparable.

        Args:
            z: Batch with role "c".
            student: As it is now.
            prompt: Whose P each point uses [N].

        Returns:
            The batch with c̃ instead of c at its second, fourth, ... point.
        """
        if not torch.is_grad_enabled():
            return z
        c = z.conditions["c"]
        candidates = [torch.full((len(z),), c[self.states_key].shape[1] - self.P.shape[1] - 1)]
        for mask in attention_masks(c, self.states_key).values():
            candidates.append(mask.long().cumsum(1).argmax(1).cpu())
        last_token = torch.stack(candidates).amin(0)
        self.attack(student, z, last_token, prompt)
        disguised = self.disguise(c, last_token, prompt)
        mixed = where_rows(z.every_other(), disguised, c)
        return replace(z, conditions={**z.conditions, "c": mixed})


def append_states(c: Condition, states_key: str, P: Tensor, last_token: Tensor) -> Condition:
    """Write states behind the last token of a condition and unmask them.

    Args:
        c: Condition with token states [N, tokens, width].
        states_key: The entry that holds them.
        P: States [N, n, width]; those for which there is no room are left out.
        last_token: Index of each row's last token [N].

    Returns:
        The condition, with gradients to P.
    """
    states = c[states_key]
    place = last_token[:, None] + 1 + torch.arange(P.shape[1])
    row, column = (place < states.shape[1]).nonzero(as_tuple=True)
    where = row.to(states.device), place[row, column].to(states.device)
    changed = {states_key: states.index_put(where, P.to(states)[row, column])}
    for name, mask in attention_masks(c, states_key).items():
        changed[name] = mask.index_put(where, torch.ones_like(mask[where]))
    return {**c, **changed}


def attention_masks(c: Condition, states_key: str) -> dict[str, Tensor]:
    """The masks of a condition, which mark the tokens that are attended to.

    Args:
        c: Condition with token states [N, tokens, width].
        states_key: The entry that holds them.

    Returns:
        Tensors [N, tokens] by name.
    """
    shape = c[states_key].shape[:2]
    masks = {}
    for name, tensor in c.items():
        if tensor.shape == shape and not tensor.is_floating_point():
            masks[name] = tensor
    return masks
