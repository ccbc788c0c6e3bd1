"""Receler: reliable concept erasing by lightweight erasers.

Source      Huang, Chang, Tsai, Lai, Yang, Wang. ECCV 2024, arXiv 2311.17717;
            code jasper0314-huang/Receler.
Idea        Leave the weights unchanged. A small perceptron behind each cross-attention removes the
            concept where the image shows it, trained against an adversary that searches for token
            states that bring it back.
Equation    L = E ‖ε_θ(x,c̃) − [ε*(x,∅) − η g*(x,c)]‖² + w R,       g*(x,c) = ε*(x,c) − ε*(x,∅)
            R = mean over blocks of Σ (E(o)·(1 − M))² / Σ (1 − M)
            M: where attention to the concept's tokens, min-max normalized, is at least τ, or at
            least where it falls into two classes best (`mask`)
            c̃: the states of c, with `tokens` learned ones P behind the concept's;
            P ← P − lr Adam(∇ ‖ε_θ(x,c̃) − ε*(x,c)‖²), `attacks` times in every step
Cost        Half a guided trajectory, three calls of the teacher, and `attacks` forward and backward
            passes for every step.
Problems    Slow. The edit consists of modules, not weights: other tools cannot merge it. Nothing
            preserves ε_θ(·,∅).
Differences from the official code
            x_t keeps its own t of the sampler's grid; theirs draws t anew within the part of the
            schedule that the sampler's step covers.
            The erasers are trained with one more forward pass after the last step of the attack;
            theirs with the pass of that step, which has the P before it.
            Adam of P starts anew in every step; theirs continues. The attention maps take a forward
            pass of their own.
            M is computed from the maps nearest to 16 x 16; theirs from maps of 16 x 16 only, and it
            fails where a model has none.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from ..callbacks import ProgressCallback, no_progress
from ..concepts.concept import Concept
from ..edits.adapters import Eraser
from ..edits.edit import Edit
from ..edits.provenance import make_card
from ..errors import InputError
from ..models.interface import Condition, Model
from ..training.adapter_trainer import (
    AdapterTraining,
    StudentContext,
    mark_concept,
    normalize_frames,
    outside_energy,
    train_adapters,
    untrained_erasers,
)
from ..training.adversary import Adversary, random_states
from ..training.distributed import require_single_process
from ..training.replay import Replay, sample_point
from ..training.replay_trainer import Student

log = logging.getLogger(__name__)

Erasers = Mapping[str, Eraser]  # by site

MOST_COVERED = 0.9  # share of the image beyond which a mask excludes almost nothing from R


@dataclass(frozen=True, kw_only=True)
class Receler:
    """Defaults are the authors'.

    eta        η
    rank       hidden units of an eraser
    attacks    steps of the adversary in every training step, at least 1
    attack_lr  its learning rate
    tokens     states that it may choose, behind the concept's own
    local      w, weight of R
    threshold  τ, a share of the way from the map's lowest value to its highest
    mask       "range": M is where the map is at least τ (the authors'); "otsu": at least the value
               that separates it into two classes best, which a map of little contrast needs
    sampling_steps, guidance   of the trajectories
    """

    eta: float = 1.0
    rank: int = 128
    steps: int = 500
    lr: float = 3e-4
    attacks: int = 50
    attack_lr: float = 0.1
    tokens: int = 16
    local: float = 0.1
    threshold: float = 0.1
    mask: Literal["range", "otsu"] = "range"
    sampling_steps: int = 50
    guidance: float = 3.0
    seed: int = 0

    def __post_init__(self):
        if self.attacks < 1:
            raise InputError(f"attacks is {self.attacks}: it must be at least 1")

    def loss(self, student: Student, x: Tensor, t: Tensor, c: Condition, target: Tensor) -> Tensor:
        """The first term of L of the module's docstring.

        Args:
            student: Predicts ε_θ(x, ·) for x [N, C, H, W], t [N] and a condition.
            x: Noisy latents [N, C, H, W].
            t: Timesteps [N].
            c: Conditions of the concept, with the adversary's states behind its tokens, N rows.
            target: ε*(x,∅) − η g*(x,c) [N, C, H, W].

        Returns:
            A scalar.
        """
        return (student(x, t, c) - target).square().mean()

    def locality(self, erasers: Erasers, M: Tensor) -> Tensor:
        """R, which holds outputs outside the mask at 0.

        Args:
            erasers: With their last outputs E(o) [N, h·w, width].
            M: [N, 1, H, W] in {0, 1}, of clips [N, frames, H, W].

        Returns:
            A scalar.
        """
        terms = []
        for eraser in erasers.values():
            if eraser.added is not None:  # else the prediction did not go through it
                terms.append(outside_energy(eraser.added, M))
        return torch.stack(terms).mean()

    def __call__(
        self, model: Model, *concepts: Concept, progress: ProgressCallback = no_progress
    ) -> Edit:
        """Erase the concepts; a name is drawn for each step. The alternative is not used."""
        require_single_process()
        concepts = model.complete(concepts)
        generator = torch.Generator().manual_seed(self.seed)
        names = [name for concept in concepts for name in (concept.erase, *concept.synonyms)]
        erasers = untrained_erasers(model, self.rank, self.seed)
        width = model.encode([""])[model.prompt_states_key].shape[2]
        P = random_states(len(names), self.tokens, width, generator)
        adversary = Adversary(P, model.prompt_states_key, steps=self.attacks, lr=self.attack_lr)

        covered = torch.zeros(())  # sum over steps of the mask's share of the image

        def step_loss(student: StudentContext) -> Tensor:
            prompt = torch.randint(len(names), (1,), generator=generator)
            name = names[int(prompt)]
            x, t = sample_point(
                model,
                [name],
                student,
                generator,
                steps=self.sampling_steps,
                guidance=self.guidance,
            )
            c, null = model.encode([name]), model.encode([""])
            last_token = model.last_token_index([name])
            with torch.no_grad():
                teacher_c, teacher_null = model.predict(x, t, c), model.predict(x, t, null)
                target = teacher_null - self.eta * (teacher_c - teacher_null)
                tokens = list(range(model.start_tokens, int(last_token) + 1))
                M = self.concept_mask(model.attention(x, t, c, tokens))
            covered.add_(float(M.mean()))
            with student():
                point = Replay(x, t, prompt, {"c": c}, {"c": teacher_c})
                adversary.attack(model.predict, point, last_token, prompt)
                disguised = adversary.disguise(c, last_token, prompt)
                value = self.loss(model.predict, x, t, disguised, target)
                return value + self.local * self.locality(erasers, M)

        state = {"adversary": P, "covered": covered}
        training = AdapterTraining(
            steps=self.steps, lr=self.lr, generator=generator, loss_state=state
        )
        card = make_card("receler", self, concepts, model)
        edit = train_adapters(model, erasers, step_loss, training, card=card, progress=progress)
        share = round(float(covered) / self.steps, 3)
        if share > MOST_COVERED:
            log.warning(
                "the concept's mask covers %.0f %% of the image on average: R holds almost "
                "nothing, and what is beside the concept is not preserved "
                "(settings: mask: otsu, or a larger threshold)",
                100 * share,
            )
        record = {**edit.card["training"], "mask": share}
        return replace(edit, card={**edit.card, "training": record})

    def concept_mask(self, maps: Mapping[str, Tensor]) -> Tensor:
        """M of attention maps: where the image shows the concept.

        It is the mean of the maps whose side is nearest to 16, min-max normalized and thresholded
        at τ, or at Otsu's value for each map.

        Args:
            maps: Attention [N, h, w] by site, of clips [N, frames, h, w].

        Returns:
            [N, 1, h, w] in {0, 1}, of clips [N, frames, h, w]: each frame is normalized by itself.
        """
        sides = [attention.shape[-2] for attention in maps.values()]
        side = min(sides, key=lambda side: abs(side - 16))
        nearest = [attention for attention in maps.values() if attention.shape[-2] == side]
        mean = torch.stack(nearest).mean(0)
        if self.mask == "otsu":
            frames = normalize_frames(mean)
            thresholds = [otsu_threshold(frame) for frame in frames.flatten(0, 1)]
            return (frames >= torch.stack(thresholds).view(*frames.shape[:2], 1, 1)).float()
        return mark_concept(mean, self.threshold)


def otsu_threshold(values: Tensor) -> Tensor:
    """The value that separates numbers into two classes with the least variance inside them.

    Source: Otsu, "A threshold selection method from gray-level histograms", IEEE Transactions on
    Systems, Man, and Cybernetics 9, 1979; here over the values themselves, without a histogram.

    Args:
        values: N numbers of any shape, at least 1.

    Returns:
        A scalar: the lowest value of the upper class; infinity where all are equal.
    """
    ordered = values.flatten().double().sort().values
    if len(ordered) < 2 or ordered[0] == ordered[-1]:
        return values.new_tensor(float("inf"))
    n = len(ordered)
    below = torch.arange(1, n, dtype=ordered.dtype, device=ordered.device)
    sums = ordered.cumsum(0)
    mean_below = sums[:-1] / below
    mean_above = (sums[-1] - sums[:-1]) / (n - below)
    between = below * (n - below) * (mean_above - mean_below).square()
    return ordered[int(between.argmax()) + 1].to(values.dtype)
