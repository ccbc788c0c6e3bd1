"""SPM: one-dimensional adapters with latent anchoring.

Source      Lyu, Yang, Hong, Chen, Jin, He, Xue, Han, Ding. CVPR 2024, arXiv 2312.16145;
            code Con6924/SPM.
Idea        Rank-one changes suffice to push a concept away if random points of the prompt space are
            held fixed meanwhile.
Equation    L(θ) = E ‖ε_θ(x,c) − [ε*(x,n) − η (ε*(x,c) − ε*(x,n))]‖² + λ E ‖ε_θ(x,r) − ε*(x,r)‖²
            n: the alternative, or ∅
            r: states in a random direction, as long as c's, accepted with probability 1 − cos(r, c)
Cost        Part of a guided trajectory for every step, two calls of the teacher and one for every
            anchor, one forward and backward pass of 1 + `anchors` predictions.
Problems    Slow: 3,000 steps. The anchors are anywhere but where prompts are. The method's
            prompt-dependent strength at inference is not implemented.
Differences from the official code
            The learning rate is constant; theirs rises for 500 steps, then falls and restarts three
            times. AdamW in single precision without weight decay instead of AdamW in 8 bits with
            its default one. D begins normally distributed, theirs uniformly.
            Every anchor is a random state; theirs puts ∅ before each and takes the second half of
            all, so that two of its four are ∅.
            x_t keeps its own t of the sampler's grid, the noise itself included; theirs begins
            after the first step and takes t out of 1,000.
            Images have the model's own size, theirs random sizes (dynamic_resolution). The pooled
            state of an anchor is the concept's own.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from ..callbacks import ProgressCallback, no_progress
from ..concepts.concept import Concept
from ..edits.edit import Edit
from ..edits.provenance import make_card
from ..models.conditioning import join
from ..models.interface import Condition, Model
from ..training.online_trainer import OnlineTraining, StudentContext, train_online
from ..training.replay import sample_point
from ..training.replay_trainer import Student


@dataclass(frozen=True)
class Anchored:
    """Random conditions and the teacher's predictions under them.

    r          conditions of the anchors
    teacher_r  ε*(x,r) [anchors, C, H, W]
    """

    r: Condition
    teacher_r: Tensor


@dataclass(frozen=True, kw_only=True)
class SPM:
    """Defaults are the authors'.

    eta      η
    lam      λ
    anchors  number of r in a step
    rank     of Δ
    sampling_steps, guidance   of the trajectories
    """

    eta: float = 1.0
    lam: float = 1000.0
    anchors: int = 4
    rank: int = 1
    group: str = "attention blocks"
    steps: int = 3000
    lr: float = 1e-4
    sampling_steps: int = 30
    guidance: float = 3.0
    seed: int = 0

    def loss(
        self,
        student: Student,
        x: Tensor,
        t: Tensor,
        c: Condition,
        anchored: Anchored,
        target: Tensor,
    ) -> Tensor:
        """L of the module's docstring, for one point.

        Args:
            student: Predicts ε_θ(x, ·) for x [N, C, H, W], t [N] and a condition.
            x: Noisy latents [1, C, H, W].
            t: Timestep [1].
            c: Condition of the concept, one row.
            anchored: The anchors' conditions, and the teacher's predictions under them.
            target: ε*(x,n) − η (ε*(x,c) − ε*(x,n)) [1, C, H, W].

        Returns:
            A scalar.
        """
        rows = 1 + len(anchored.teacher_r)
        repeated = x.expand(rows, *x.shape[1:])
        ε = student(repeated, t.expand(rows), join(c, anchored.r))
        ε_c, ε_r = ε[:1], ε[1:]
        push = (ε_c - target).square().mean()
        return push + self.lam * (ε_r - anchored.teacher_r).square().mean()

    def __call__(
        self, model: Model, *concepts: Concept, progress: ProgressCallback = no_progress
    ) -> Edit:
        """Push the concepts away, towards their alternatives; a name is drawn for each step."""
        concepts = model.complete(concepts)
        pairs = []
        for concept in concepts:
            for name in (concept.erase, *concept.synonyms):
                pairs.append((name, concept.alternative or ""))

        def draw(step: int, student: StudentContext, generator: torch.Generator) -> tuple:
            name, alternative = pairs[int(torch.randint(len(pairs), (), generator=generator))]
            x, t = sample_point(
                model,
                [name],
                student,
                generator,
                steps=self.sampling_steps,
                guidance=self.guidance,
            )
            c, n = model.encode([name]), model.encode([alternative])
            r = {}
            for entry, value in c.items():
                r[entry] = value.expand(self.anchors, *value.shape[1:])
            r[model.prompt_states_key] = random_anchors(
                c[model.prompt_states_key], self.anchors, generator
            )
            with torch.no_grad():
                teacher_c, teacher_n = model.predict(x, t, c), model.predict(x, t, n)
                repeated = x.expand(self.anchors, *x.shape[1:])
                teacher_r = model.predict(repeated, t.expand(self.anchors), r)
            target = teacher_n - self.eta * (teacher_c - teacher_n)
            return x, t, c, Anchored(r, teacher_r), target

        training = OnlineTraining(
            group=self.group, steps=self.steps, lr=self.lr, seed=self.seed, rank=self.rank
        )
        card = make_card("spm", self, concepts, model)
        return train_online(model, draw, self.loss, training, card=card, progress=progress)


def random_anchors(c: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """States in random directions, 0.8 to 1.2 times as long as c.

    Args:
        c: Token states of the concept [1, tokens, width].
        n: Number of anchors.
        generator: Draws directions, lengths, and which directions are accepted: each with
            probability 1 − its cosine to c.

    Returns:
        [n, tokens, width]
    """
    anchors: list[Tensor] = []
    while len(anchors) < n:
        r = torch.randn(c.shape, generator=generator).to(c)
        cosine = float(cosine_similarity(r.flatten(), c.flatten(), dim=0))
        if float(torch.rand((), generator=generator)) < 1 - cosine:
            length = c.norm() * (0.8 + 0.4 * float(torch.rand((), generator=generator)))
            anchors.append(r / r.norm() * length)
    return torch.cat(anchors)
