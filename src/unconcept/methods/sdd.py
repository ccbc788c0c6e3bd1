"""SDD: safe self-distillation.

Source      Kim, Jung, Kim, Choi, Shin, Lee. ICML workshop 2023, arXiv 2307.05977;
            code nannullna/safe-diffusion.
Idea        Let the prompt add nothing: the student's conditional prediction follows its own
            unconditional one.
Equation    L(θ) = E ‖ε_θ(x,c) − sg ε_θ(x,∅)‖²
            The running average θ̄ ← m θ̄ + (1 − m) θ samples x, and is the result.
Cost        Half a guided trajectory of the average for every step, then one forward and backward
            pass of two predictions.
Problems    The target is the student's own: nothing ties ε_θ(·,∅) to the original. No alternative
            can be chosen.
Differences from the official code
            x_t keeps its own t of the sampler's grid; theirs draws t anew within the part of the
            schedule that the sampler's step covers. Where the noise itself is drawn, one time in
            50, ours trains on it; theirs samples to the end and takes the clean image for noise.
            Of its ways to erase several concepts ours has the default, one after the other.
            Synonyms, which theirs does not know, are trained in the same step as the concept's
            name: they take no steps from it, and no trajectory is sampled for them.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..callbacks import ProgressCallback, no_progress
from ..concepts.concept import Concept
from ..edits.edit import Edit
from ..edits.provenance import make_card
from ..models.conditioning import join
from ..models.interface import Condition, Model
from ..training.online_trainer import OnlineTraining, StudentContext, train_online
from ..training.replay import sample_point
from ..training.replay_trainer import Student


@dataclass(frozen=True, kw_only=True)
class SDD:
    """Defaults are the authors'.

    average       m, decay of the running average
    weight_decay  draws the edited weights to 0
    clip          largest norm of the gradient
    sampling_steps, guidance   of the trajectories
    """

    average: float = 0.999
    group: str = "cross-attention"
    steps: int = 1500
    lr: float = 1e-5
    weight_decay: float = 1e-4
    clip: float = 1.0
    sampling_steps: int = 50
    guidance: float = 3.0
    seed: int = 0

    def loss(self, student: Student, x: Tensor, t: Tensor, c: Condition, null: Condition) -> Tensor:
        """L(θ) of the module's docstring.

        Args:
            student: Predicts ε_θ(x, ·) for x [N, C, H, W], t [N] and a condition.
            x: Noisy latents [N, C, H, W].
            t: Timesteps [N].
            c: Conditions of the concept's names, N rows.
            null: Conditions of the empty prompt, N rows.

        Returns:
            A scalar; only ε_θ(x,c) has gradients.
        """
        both = student(torch.cat([x, x]), torch.cat([t, t]), join(c, null))
        ε_c, ε_null = both.chunk(2)
        return (ε_c - ε_null.detach()).square().mean()

    def __call__(
        self, model: Model, *concepts: Concept, progress: ProgressCallback = no_progress
    ) -> Edit:
        """Erase the concepts, one after the other on trajectories of all of them together.

        Every step of a concept trains all its names. The alternative is not used.
        """
        concepts = model.complete(concepts)
        together = ", ".join(concept.erase for concept in concepts)

        def draw(step: int, student: StudentContext, generator: torch.Generator) -> tuple:
            concept = concepts[step % len(concepts)]
            names = [concept.erase, *concept.synonyms]
            x, t = sample_point(
                model,
                [together],
                student,
                generator,
                steps=self.sampling_steps,
                guidance=self.guidance,
            )
            x, t = x.expand(len(names), *x.shape[1:]), t.expand(len(names))
            return x, t, model.encode(names), model.encode([""] * len(names))

        training = OnlineTraining(
            group=self.group,
            steps=self.steps,
            lr=self.lr,
            seed=self.seed,
            weight_decay=self.weight_decay,
            clip=self.clip,
            average=self.average,
        )
        card = make_card("sdd", self, concepts, model)
        return train_online(model, draw, self.loss, training, card=card, progress=progress)
