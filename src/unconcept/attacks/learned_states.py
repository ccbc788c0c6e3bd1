"""Learned states: token states behind the prompt, with which the erased model predicts what the
original did.

Source      the objective of P4D (arXiv 2309.06135, eq. 5) on the states that Receler's adversary
            learns (arXiv 2311.17717)
Idea        free states are more than any words: an upper bound of what prompts can do
Equation    P ← Adam step on ‖ε_θ(x_t, t, [c; P]) − ε*(x_t, t, c)‖², on trajectories of the original
Access      whoever has both models' weights
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from ..callbacks import Progress
from ..errors import InputError
from ..models.conditioning import to_device
from ..models.interface import Condition, Model
from ..training.adversary import Adversary, append_states, random_states
from ..training.replay import ReplayPlan, record
from .interface import Access, Attacked, Cases, Plain, Target, Victim
from .sampling import Encode, Walk, encoded_by, sample

STEPS_PER_ATTACK = 5


@dataclass(frozen=True)
class LearnedStates(Plain):
    """Hyperparameters.

    tokens  states behind the prompt
    steps   of Adam
    lr      of Adam
    batch   points per step
    points  of every trajectory of the original that are recorded
    """

    access: ClassVar[Access] = "weights and original"
    searches: ClassVar[bool] = True
    behind_prompt: ClassVar[bool] = True
    clips: ClassVar[bool] = True
    chance_means: ClassVar[str] = "random states of the same number, where the search begins"

    tokens: int = 4
    steps: int = 200
    lr: float = 0.1
    batch: int = 16
    points: int = 12

    def prepare(self, victim: Victim, target: Target) -> Mapping[str, Attacked]:
        """Learn the states.

        Args:
            victim: The model that is attacked.
            target: Its prompts are what the states stand behind.

        Raises:
            InputError: The attacker lacks the original.
        """
        model, original = victim.model, victim.original
        if original is None:
            raise InputError("learned states need the original model")
        named, typed = target.named.prompts, target.search.prompts
        plan = ReplayPlan(
            drive=named,
            prompts={"c": [[prompt] for prompt in named]},
            seed=target.seed,
            steps=target.sampling.steps,
            guidance=target.sampling.guidance,
            points=min(self.points, target.sampling.steps),
        )
        z = record(original, plan)
        generator = torch.Generator().manual_seed(target.seed)
        adversary = Adversary(
            self.first(model, generator),
            model.prompt_states_key,
            steps=STEPS_PER_ATTACK,
            lr=self.lr,
            decay=0.0,
        )
        last = model.last_token_index(typed)[z.trajectory]

        def predict(x: Tensor, t: Tensor, c: Condition) -> Tensor:
            condition = to_device(model.device, c)
            return model.predict(x.to(model.device), t.to(model.device), condition).cpu()

        with victim.on(), torch.enable_grad():
            states = to_device(torch.device("cpu"), model.encode(typed))
            for step in range(0, self.steps, STEPS_PER_ATTACK):
                target.progress(Progress("learning states", step, self.steps))
                i = torch.randint(len(z), (self.batch,), generator=generator)
                c = {name: rows[z.trajectory[i]] for name, rows in states.items()}
                batch = replace(z[i], conditions={"c": c})
                adversary.attack(predict, batch, last[i], torch.zeros(self.batch, dtype=torch.long))
        return {"": self.behind(victim, target, adversary.P)}

    def chance(self, victim: Victim, target: Target) -> Mapping[str, Attacked]:
        """The states that the search begins with.

        Args:
            victim: The model that is attacked.
            target: Says how images are sampled.
        """
        generator = torch.Generator().manual_seed(target.seed)
        return {"": self.behind(victim, target, self.first(victim.model, generator))}

    def first(self, model: Model, generator: torch.Generator) -> Tensor:
        """Random states [1, tokens, width].

        Args:
            model: Says how wide a state is.
            generator: Draws them.
        """
        width = model.encode([""])[model.prompt_states_key].shape[2]
        return random_states(1, self.tokens, width, generator)

    def behind(self, victim: Victim, target: Target, P: Tensor) -> Attacked:
        """Cases with states behind their prompts.

        Args:
            victim: The model that is attacked.
            target: Says how images are sampled.
            P: [1, tokens, width].
        """

        def sample_cases(cases: Cases) -> Tensor:
            encode = partial(encode_with, victim.model, victim.model.encode, P.detach())
            walk = Walk(target.sampling, around=partial(encoded_by, encode=encode))
            return sample(victim, cases, walk)

        return Attacked(sample_cases)


def encode_with(model: Model, encode: Encode, P: Tensor, prompts: Sequence[str]) -> Condition:
    """Encode prompts, with states behind the last token of each.

    Args:
        model: The model.
        encode: Its own way to encode prompts.
        P: [1, tokens, width].
        prompts: N prompts.

    Returns:
        The condition, N rows.
    """
    c, last = encode(prompts), model.last_token_index(prompts)
    return append_states(c, model.prompt_states_key, P.expand(len(prompts), -1, -1), last)
