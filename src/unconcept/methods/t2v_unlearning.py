"""T2VUnlearning: a concept erasing method for text-to-video diffusion models.

Source      Ye, Cheng, Wang, Xiong, Li. 2025, arXiv 2505.17550; code VDIGPKU/T2VUnlearning
            (checkpoints and inference; the training is described in the paper alone).
Idea        Leave the weights unchanged. A small perceptron behind each attention, on the video's
            side, removes the concept where the frames show it. Long prompts, as users of video
            models write them, and their twins without the concept keep it from being narrow.
Equation    L = E ‖ε_θ(x,c) − [ε*(x,∅) − η g*(x,c)]‖² + α R + β E ‖ε_θ(x,k) − ε*(x,k)‖²
            g*(x,c) = ε*(x,c) − ε*(x,∅)
            R = mean over blocks of Σ (E(o)·(1 − M))² / Σ (1 − M)
            M of a block: where its attention to the concept's tokens, min-max normalized in each
            frame, is at least τ
            c: long prompts of the concept, k: the same with something else in its place
Cost        Trajectories, ε* and M are recorded once; then each step is a forward and backward pass
            with c, and one with k.
Problems    The edit consists of modules, not weights: other tools cannot merge it. It has no
            alternative: only the twins k name one. M marks something in each frame, also where the
            concept is not seen (`each_frame`).
Differences from the paper
            Prompts are put together from frames of sentences (concepts/sentences.py); theirs are
            written by a language model. Points of recorded trajectories of the original model are
            drawn again and again. M is computed as the model attends, behind the norms of queries
            and keys and the rotary embedding; the authors' inference code reads both before these,
            and adds 1e-6 to the range that it normalizes by.
            The twins are preserved on trajectories of their own. In a third party's training
            (TobisawaMisakii/T2VUnlearning) they are preserved at the concept's latents, these stay
            the initial noise at every timestep, and R is 0.
            α, β, τ and the weight decay of the paper's own runs are not known to us: see
            `KNOWN_SETTINGS`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..callbacks import Progress, ProgressCallback, no_progress
from ..concepts.concept import Concept
from ..concepts.sentences import LongPrompt, long_prompts
from ..edits.adapters import Eraser
from ..edits.edit import Edit
from ..edits.provenance import make_card
from ..errors import InputError
from ..models.interface import Model
from ..training.adapter_trainer import (
    AdapterTraining,
    StudentContext,
    mark_concept,
    outside_energy,
    train_adapters,
    untrained_erasers,
)
from ..training.distributed import require_single_process
from ..training.replay import Replay, ReplayPlan, record
from ..training.replay_trainer import Student, as_student
from ..training.resume import load_or_compute

MASK = "mask."  # before the name of a block, in what a replay records

# What is known of others' runs, as arguments of the class. "hunyuan": the path of the official
# HunyuanVideo checkpoint names these. "cogvideox-2b": a third party's training
# (TobisawaMisakii/T2VUnlearning), without the preservation term.
KNOWN_SETTINGS: Mapping[str, Mapping[str, float]] = {
    "hunyuan": {"eta": 3.0, "rank": 128, "steps": 500, "lr": 1e-4},
    "cogvideox-2b": {"eta": 7.0, "alpha": 1.0, "beta": 0.0, "lr": 1e-4, "decay": 0.01},
}


@dataclass(frozen=True, kw_only=True)
class T2VUnlearning:
    """Defaults are what is known of the authors' HunyuanVideo eraser; α, β and τ are ours.

    eta           η
    alpha         α, weight of R
    beta          β, weight of the preservation of the twins
    threshold     τ
    each_frame    normalize the attention in each frame; false: over the whole clip
    rank          hidden units of an eraser
    decay         weight decay of AdamW
    batch_size    points in a step
    trajectories  recorded of the concepts' prompts, at least 1 for each concept; as many of the
                  twins
    points        recorded of the `sampling_steps` of each trajectory, about
    guidance      CFG scale of the trajectories; None: the model's own
    """

    eta: float = 3.0
    alpha: float = 1.0
    beta: float = 1.0
    threshold: float = 0.1
    each_frame: bool = True
    rank: int = 128
    steps: int = 500
    lr: float = 1e-4
    decay: float = 0.01
    batch_size: int = 1
    trajectories: int = 16
    points: int = 12
    sampling_steps: int = 25
    guidance: float | None = None
    seed: int = 0

    def __post_init__(self):
        if self.alpha < 0 or self.beta < 0 or self.decay < 0:
            raise InputError("alpha, beta and decay are weights: 0 or more")
        if not 0 <= self.threshold <= 1:
            raise InputError(f"threshold is {self.threshold}: it must be between 0 and 1")
        if self.trajectories < 1 or not 1 <= self.points <= self.sampling_steps:
            raise InputError(
                "trajectories must be 1 or more, and points between 1 and sampling_steps"
            )

    def loss(self, student: Student, z: Replay) -> Tensor:
        """The first term of L of the module's docstring.

        Args:
            student: Predicts ε_θ(x, ·) for x, t [N] and a condition.
            z: N points with the condition "c" and the teacher's predictions "c" and "null".

        Returns:
            A scalar.
        """
        teacher_c, teacher_null = z.targets["c"], z.targets["null"]
        target = teacher_null - self.eta * (teacher_c - teacher_null)
        return (student(z.x, z.t, z.conditions["c"]) - target).square().mean()

    def locality(self, erasers: Mapping[str, Eraser], z: Replay) -> Tensor:
        """R, which holds outputs outside the masks at 0.

        Args:
            erasers: With their last outputs E(o), by site.
            z: N points with the masks M of the sites.

        Returns:
            A scalar.
        """
        terms = []
        for site, eraser in erasers.items():
            if eraser.added is not None:  # else the prediction did not go through it
                terms.append(outside_energy(eraser.added, z.targets[MASK + site]))
        return torch.stack(terms).mean()

    def keep_loss(self, student: Student, z: Replay) -> Tensor:
        """The third term of L without β.

        Args:
            student: Predicts ε_θ(x, ·) for x, t [N] and a condition.
            z: N points with the condition "k" and the teacher's prediction "k".

        Returns:
            A scalar.
        """
        return (student(z.x, z.t, z.conditions["k"]) - z.targets["k"]).square().mean()

    def __call__(
        self, model: Model, *concepts: Concept, progress: ProgressCallback = no_progress
    ) -> Edit:
        """Erase the concepts; the points of all of them are drawn from one replay."""
        require_single_process()
        if self.batch_size > 1 and len(model.denoiser_names) > 1:
            raise InputError(
                "this model has two denoisers, and a point belongs to one: batch_size must be 1"
            )
        concepts = model.complete(concepts)
        erasers = untrained_erasers(model, self.rank, self.seed)
        prompts = self.prompts(concepts)
        erase = self.record_concepts(model, prompts, progress)
        keep = self.record_twins(model, prompts, progress) if self.beta else None
        generator = torch.Generator().manual_seed(self.seed)
        predict = as_student(model)

        def draw(replay: Replay) -> Replay:
            index = torch.randint(len(replay), (self.batch_size,), generator=generator)
            return replay.batch(index).to(model.device)

        def step_loss(student: StudentContext) -> Tensor:
            z = draw(erase)
            with student():
                value = self.loss(predict, z)
                value = value + self.alpha * self.locality(erasers, z)
                if keep is not None:
                    value = value + self.beta * self.keep_loss(predict, draw(keep))
                return value

        training = AdapterTraining(
            steps=self.steps, lr=self.lr, decay=self.decay, generator=generator
        )
        card = make_card("t2v-unlearning", self, concepts, model)
        return train_adapters(model, erasers, step_loss, training, card=card, progress=progress)

    def prompts(self, concepts: tuple[Concept, ...]) -> list[LongPrompt]:
        """The long prompts of all trajectories, the same number of each concept.

        Args:
            concepts: The concepts to erase.
        """
        each = -(-self.trajectories // len(concepts))
        prompts = []
        for concept in concepts:
            prompts += long_prompts(concept, each, seed=self.seed)
        return prompts

    def plan(self, model: Model, drive: list[str], roles: Mapping[str, list[str]]) -> ReplayPlan:
        """Which trajectories are recorded.

        Args:
            model: Its guidance scale is taken where none is set.
            drive: The prompt that guides each of them.
            roles: By role the prompt of each.
        """
        return ReplayPlan(
            drive=drive,
            prompts={role: [[prompt] for prompt in prompts] for role, prompts in roles.items()},
            seed=self.seed,
            steps=self.sampling_steps,
            guidance=model.guidance if self.guidance is None else self.guidance,
            points=self.points,
        )

    def record_concepts(
        self, model: Model, prompts: list[LongPrompt], progress: ProgressCallback
    ) -> Replay:
        """Record the concepts' trajectories, with the masks at every point.

        Args:
            model: The teacher.
            prompts: One for each trajectory.
            progress: Called before the recording.

        Returns:
            Points with the roles "c" and "null", and the masks among the targets.
        """
        progress(Progress("recording trajectories of the concept", 0, 2))
        texts = [prompt.text for prompt in prompts]
        plan = self.plan(model, texts, {"c": texts, "null": [""] * len(texts)})
        replay = record(model, plan)
        masks = load_or_compute(lambda: self.masks(model, prompts, replay))
        return Replay(
            replay.x,
            replay.t,
            replay.trajectory,
            replay.conditions,
            {**replay.targets, **masks},
        )

    def record_twins(
        self, model: Model, prompts: list[LongPrompt], progress: ProgressCallback
    ) -> Replay:
        """Record trajectories of the twins: points with the role "k".

        Args:
            model: The teacher.
            prompts: Of the concepts.
            progress: Called before the recording.
        """
        progress(Progress("recording trajectories of what is kept", 1, 2))
        twins = [prompt.twin for prompt in prompts]
        return record(model, self.plan(model, twins, {"k": twins}))

    @torch.no_grad()
    def masks(self, model: Model, prompts: list[LongPrompt], replay: Replay) -> dict[str, Tensor]:
        """M of every block at every point, a bit for each place.

        Args:
            model: The teacher.
            prompts: Of the trajectories.
            replay: The points, with the condition "c".

        Returns:
            By block, behind `MASK`: [N, frames, h, w].
        """
        masks: dict[str, list[Tensor]] = {}
        for i in range(len(replay)):
            z = replay[i : i + 1].to(model.device)
            tokens = name_tokens(model, prompts[int(z.trajectory)])
            maps = model.attention(z.x, z.t, z.conditions["c"], tokens)
            for site, share in maps.items():
                marked = mark_concept(share, self.threshold, self.each_frame)
                masks.setdefault(MASK + site, []).append(marked.bool().cpu())
        return {site: torch.cat(rows) for site, rows in masks.items()}


def name_tokens(model: Model, prompt: LongPrompt) -> list[int]:
    """Positions of the tokens of a concept's name in a long prompt.

    Args:
        model: Tokenizes as it encodes.
        prompt: Whose name does not come first.

    Returns:
        One position or more; the last one that the text encoder reads where the name is cut off.
    """
    ends = model.last_token_index([prompt.before, f"{prompt.before} {prompt.name}"])
    first, last = int(ends[0]) + 1, int(ends[1])
    return list(range(first, last + 1)) or [last]
