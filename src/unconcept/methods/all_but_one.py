"""All but One: surgical concept erasing with model preservation.

Source      Hong, Lee, Woo. AAAI 2024, arXiv 2312.12807: its idea, in our formulation
            (docs/methods/formulation.md).
Idea        Change what the prompt adds to the prediction (the guidance term) and preserve the
            unconditional prediction. First by a closed form, which preserves it exactly; then, if
            training is enabled, by gradient descent.
Equation    W = W* (I + S): the prompt states of the concept become those of the alternative
            (training/closed_form.py)
            L(θ) = E ‖[ε_θ(x,c) − sg ε_θ(x,∅)] − g_target‖²
                 + λ E ‖ε_θ(x,∅) − ε*(x,∅)‖² + ρ E ‖ε_θ(x,k) − ε*(x,k)‖²
            g_target = κ g*(x,a) − η g*(x,c),      g(x,c) = ε(x,c) − ε(x,∅)
            c: prompts of the concept, a: the same with the alternative, k: retained prompts
Cost        Closed form: one pass of the text encoder over at most 2,048 retained prompts, no call
            of the denoiser.
            Training: trajectories are recorded once; then each step is one forward and one backward
            pass of the student.
Problems    It edits how the model follows prompts. The unconditional model still knows the concept:
            attacks that do not go through the guidance (inpainting, inversion of images that show
            the concept) can bring it back.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, TypeVar

import torch
from torch import Tensor

from ..callbacks import Progress, ProgressCallback, no_progress, prefixed
from ..concepts.concept import Concept
from ..concepts.retain import retain_prompts, with_retained
from ..edits.edit import Edit
from ..edits.provenance import make_card, model_identity
from ..edits.weight_deltas import Deltas
from ..errors import InputError
from ..models.conditioning import join, per_row, predict_in_batches
from ..models.interface import Model
from ..training.adversary import Adversary, random_states
from ..training.closed_form import ClosedForm, solve
from ..training.concept_replay import RecordingSettings, record_concepts, record_retained
from ..training.config import Tune
from ..training.distributed import from_first_process
from ..training.paraphrase import mix_paraphrases
from ..training.replay import Replay
from ..training.replay_trainer import (
    HELD_OUT_POINTS,
    Loss,
    ReplayTraining,
    Student,
    evenly_spaced,
    fit,
)
from ..training.rounds import RoundLimits, sum_rounds, train_rounds

T = TypeVar("T")

# The second moment C is made of at most so many retained prompts, with at most so many tokens: of
# T5's 512 tokens a prompt, 512 prompts.
MAX_RETAINED_PROMPTS = 2048
MAX_RETAINED_TOKENS = 2**18

MIN_LAMBDA = 5.0  # the λ of the closed form at or below which `stronger` trains instead of lowering
ROUND_STEPS = 100  # steps of a round where `tune` does not set any
MIN_TRAJECTORIES = 4  # of each concept


def closed_form_alone() -> Tune:
    """No training."""
    return Tune(steps=0)


@dataclass(frozen=True, kw_only=True)
class AllButOne:
    """Call it with a model and concepts; get an Edit. Defaults were chosen by measurement on the
    embedded model.

    start         "closed": from the closed form; "none": training from the original weights, the
                  paper's fine-tuning
    closed        settings of the closed form
    until         training stops when no more than this share of the concept's guidance is missing
                  on held-out points
    rounds        largest number of rounds of `tune.steps` steps. Each round continues from the
                  previous one, with twice the learning rate if that one removed less than half of
                  what was missing. Two in a row that each remove less than a tenth are the last
    lam           λ, weight of the preservation of the unconditional prediction
    kappa, eta    κ and η of g_target. η None: 0 with an alternative and `eta_alone` without one,
                  where a is the prompt without the concept's words
    eta_alone     η of concepts without an alternative
    onset         share of the noise schedule up to which the concept is erased. Above it the target
                  is the original guidance, so that layout and background stay those of the same
                  seed; 1: erased at every noise level
    surgical      stop the gradient at ε_θ(x,∅) in the first term, so that only the conditional
                  prediction moves; false: the joint form without it
    rho           ρ, weight of the preservation of other prompts; 0: no such term
    together      largest number of concepts that are trained in one run. More are trained in groups
                  of even size, and the groups' edits are added up
    trajectories  sampled for the concepts of a group, at least 4 for each concept; for other
                  prompts twice as many are sampled
    adversary     number of token states that an adversary learns and places behind the prompt of
                  every other point, so that they are erased, too; 0: no adversary
    attacks       steps of the adversary in every training step; each is a forward and a backward
                  pass on one row per point, where the training step has three
    attack_lr     learning rate of the adversary
    paraphrase    r: at every other point, the concept's states are moved by a random share, up to
                  r, of the way to a synonym or a similar word, and erased there, too; 0: nowhere.
                  The network runs no more often than without
    points        recorded of the `sampling_steps` of each trajectory, about: every
                  `sampling_steps // points`-th
    guidance      CFG scale of the trajectories; None: the model's own
    """

    start: Literal["closed", "none"] = "closed"
    closed: ClosedForm = field(default_factory=ClosedForm)
    until: float = 0.03
    rounds: int = 6
    lam: float = 1.0
    kappa: float = 1.0
    eta: float | None = None
    eta_alone: float = 0.0
    onset: float = 1.0
    surgical: bool = True
    rho: float = 3.0
    together: int = 3
    trajectories: int = 16
    points: int = 12
    sampling_steps: int = 25
    guidance: float | None = None
    adversary: int = 0
    attacks: int = 3
    attack_lr: float = 0.1
    paraphrase: float = 0.0
    tune: Tune = field(default_factory=closed_form_alone)

    def __post_init__(self):
        if self.start not in ("closed", "none"):
            raise InputError(f"start is {self.start!r}: it must be closed or none")
        if not 0 <= self.until < 1 or self.rounds < 1:
            raise InputError("until is a share: 0 or more and below 1; rounds is at least 1")
        if self.lam < 0 or self.rho < 0:
            raise InputError("lam and rho are weights of a loss: 0 or more")
        if self.adversary < 0 or self.attacks < 1:
            raise InputError("adversary is 0 or more, attacks 1 or more")
        if not 0 <= self.paraphrase <= 1:
            raise InputError("paraphrase is a share of the way to another word: between 0 and 1")
        if self.together < 1:
            raise InputError("together is 1 or more")
        if self.trajectories < MIN_TRAJECTORIES or not 1 <= self.points <= self.sampling_steps:
            raise InputError(
                f"trajectories must be {MIN_TRAJECTORIES} or more, "
                "and points between 1 and sampling_steps"
            )

    def loss(self, student: Student, z: Replay, kappa: Tensor, eta: Tensor) -> Tensor:
        """The first two terms of L(θ): the concept's guidance, and the unconditional prediction.

        Args:
            student: Predicts ε_θ(x, ·) for x [N, C, H, W], t [N] and a condition.
            z: N points with conditions "c" and "null" and the teacher's predictions ε*(x, ·) under
                "c", "a" and "null".
            kappa: κ of each point [N, 1, ..., 1].
            eta: η of each point [N, 1, ..., 1].

        Returns:
            A scalar.
        """
        ε_c, ε_null = student(
            torch.cat([z.x, z.x]),
            torch.cat([z.t, z.t]),
            join(z.conditions["c"], z.conditions["null"]),
        ).chunk(2)
        teacher_c, teacher_a, teacher_null = z.targets["c"], z.targets["a"], z.targets["null"]

        g = ε_c - (ε_null.detach() if self.surgical else ε_null)
        g_target = kappa * (teacher_a - teacher_null) - eta * (teacher_c - teacher_null)
        return mse(g, g_target) + self.lam * mse(ε_null, teacher_null)

    def keep_loss(self, student: Student, z: Replay) -> Tensor:
        """The third term of L(θ) without ρ: predictions for retained prompts stay as they were.

        Args:
            student: Predicts ε_θ(x, ·) for x [N, C, H, W], t [N] and a condition.
            z: N points with the condition "k" and the teacher's prediction ε*(x,k) in "k".

        Returns:
            A scalar.
        """
        return mse(student(z.x, z.t, z.conditions["k"]), z.targets["k"])

    def __call__(
        self, model: Model, *concepts: Concept, progress: ProgressCallback = no_progress
    ) -> Edit:
        """Erase the concepts from the model, all in one Edit.

        Args:
            model: The model, which is not changed.
            concepts: The concepts to erase, one or more.
            progress: Called at each stage, and after each training step.

        Returns:
            One edit for all concepts.

        Raises:
            InputError: There is no concept.
            RunError: A loss is not finite.
        """
        if not concepts:
            raise InputError("no concept to erase was given")
        concepts = model.complete(concepts)
        card = {**make_card("all-but-one", self, concepts, model), "training": sum_rounds([])}
        edit = Edit({}, card)
        if self.start == "closed":
            progress(Progress("closed form", 0, 1))
            others = shuffled(retain_prompts(concepts, model.vocabulary), self.tune.seed)
            retained = self.second_moment_prompts(model, others)
            deltas, facts = solve(model, concepts, retained, self.closed)
            edit = Edit(deltas, {**card, "closed_form": facts})
        if self.trains:
            train = self.train_in_groups if len(concepts) > self.together else self.train
            edit = train(model, concepts, edit, progress)
        return replace(edit, card={**edit.card, **model_identity(model, edit.deltas)})

    @property
    def trains(self) -> bool:
        """Is anything trained? Otherwise the closed form is the whole edit."""
        return self.start == "none" or self.tune.steps > 0 or self.hardens

    @property
    def hardens(self) -> bool:
        """Does training also erase states near the concept's prompts?"""
        return self.adversary > 0 or self.paraphrase > 0

    @property
    def first_round(self) -> Tune:
        """Hyperparameters of the first round of training."""
        return self.tune if self.tune.steps else replace(self.tune, steps=ROUND_STEPS)

    def stronger(self) -> "AllButOne | None":
        """What to try where the erasure did not work.

        Returns:
            The closed form with a quarter of λ; where λ is low already, the same with training;
            None where training was part of it.
        """
        if self.start == "closed" and not self.trains:
            if self.closed.lam > MIN_LAMBDA:
                return replace(self, closed=replace(self.closed, lam=self.closed.lam / 4))
            return replace(self, tune=replace(self.tune, steps=ROUND_STEPS))
        return None

    def train(
        self, model: Model, concepts: tuple[Concept, ...], edit: Edit, progress: ProgressCallback
    ) -> Edit:
        """Train on top of an edit, round after round, until at most `until` is missing.

        With an adversary or paraphrases there is at least one round.

        Args:
            model: The original model.
            concepts: The concepts to erase in this run.
            edit: Where training starts.
            progress: Called at each stage, and after each step.

        Returns:
            The edit with everything that the rounds added.
        """
        others = shuffled(retain_prompts(concepts, model.vocabulary), self.tune.seed)
        replays = self.replay(model, concepts, others, progress)
        adversary = self.build_adversary(model, concepts)
        loss = self.batch_loss(model, concepts, adversary)
        loss_state = {"adversary": adversary.P} if adversary else {}
        retained = self.second_moment_prompts(model, others)

        def fit_round(edit: Edit, tune: Tune) -> Edit:
            training = ReplayTraining(tune, retained, loss_state)
            with edit.on(model):
                return fit(model, replays, loss, training, progress=progress)

        def missing(edit: Edit) -> float:
            return self.missing(model, concepts, edit, replays["erase"])

        limits = RoundLimits(self.until, self.rounds, least=int(self.hardens))
        return train_rounds(edit, self.first_round, limits, fit_round, missing)

    def train_in_groups(
        self, model: Model, concepts: tuple[Concept, ...], edit: Edit, progress: ProgressCallback
    ) -> Edit:
        """Train each group of concepts on top of the same edit, and add up what they change.

        In a group, the concepts of all other groups count as retained: they keep the original
        model's predictions.

        Args:
            model: The original model.
            concepts: All concepts, more than `together`.
            edit: The closed form of all concepts, or an edit without changes.
            progress: Called at each stage, and after each step.

        Returns:
            One edit for all concepts.
        """
        ends = list(itertools.accumulate(self.groups(len(concepts))))
        first = edit if self.start == "closed" else Edit({}, edit.card)
        deltas = Deltas.of(edit.deltas)
        runs: list[dict] = []
        for i, (start, end) in enumerate(zip([0, *ends], ends)):
            others = []
            for concept in (*concepts[:start], *concepts[end:]):
                if concept.erase not in model.vocabulary:
                    others.append(concept)
            group = tuple(with_retained(concept, others) for concept in concepts[start:end])
            group_progress = prefixed(progress, f"group {i + 1} of {len(ends)}")
            trained = self.train(model, group, first, group_progress)
            added = Deltas.of(trained.deltas) + Deltas.of(first.deltas) * -1.0
            deltas = deltas + added
            runs.append(trained.card["training"])
        return Edit(deltas, {**edit.card, "training": {**sum_rounds(runs), "groups": runs}})

    def groups(self, concepts: int) -> list[int]:
        """How many concepts are trained together, run by run.

        Args:
            concepts: Their number, 1 or more.

        Returns:
            Sizes of the groups, at most `together` each, as equal as possible; their sum is
            `concepts`.
        """
        n = -(-concepts // self.together)
        return [(i + 1) * concepts // n - i * concepts // n for i in range(n)]

    def batch_loss(
        self, model: Model, concepts: tuple[Concept, ...], adversary: Adversary | None
    ) -> Loss:
        """L(θ) of a batch, with κ and η of each point.

        Args:
            model: Says where κ and η are needed, and how long the noise schedule is.
            concepts: The concepts of the replay, in its order.
            adversary: Attacks the student in every step; None: nobody does.

        Returns:
            The loss that `fit` minimizes.
        """
        kappa, eta = self.coefficients(concepts)
        kappa, eta = kappa.to(model.device), eta.to(model.device)
        per_concept = self.trajectories_per_concept(len(concepts))

        def loss(student: Student, z: Mapping[str, Replay]) -> Tensor:
            erase = z["erase"]
            concept = erase.trajectory // per_concept
            above_onset = erase.t > self.onset * model.timesteps
            if self.paraphrase:
                erase = mix_paraphrases(erase)
            # Above the onset κ = 0 and η = −1: g_target = g*(x,c), the original guidance.
            κ = kappa[concept].where(~above_onset, 0.0)
            η = eta[concept].where(~above_onset, -1.0)
            if adversary:
                erase = adversary.disguise_batch(erase, student, concept)
            total = self.loss(student, erase, per_row(κ, erase.x), per_row(η, erase.x))
            return total + self.rho * self.keep_loss(student, z["keep"]) if self.rho else total

        return loss

    @torch.no_grad()
    def missing(
        self, model: Model, concepts: tuple[Concept, ...], edit: Edit, replay: Replay
    ) -> float:
        """Share of the concept's guidance that is missing on held-out points.

        ‖g(x,c) − g_target‖² / ‖g*(x,c) − g_target‖², where g is the guidance of the edited model.

        Args:
            model: The original model.
            concepts: The concepts of the replay, in its order.
            edit: The edit to measure.
            replay: Recorded points of the concepts.

        Returns:
            1 for an edit that changes nothing, 0 where g_target is met exactly.
        """
        z = replay[evenly_spaced(replay.split(self.tune.held_out)[1], HELD_OUT_POINTS)]
        concept = z.trajectory // self.trajectories_per_concept(len(concepts))
        kappa, eta = self.coefficients(concepts)
        κ, η = per_row(kappa[concept], z.x), per_row(eta[concept], z.x)
        g_c, g_a = z.targets["c"] - z.targets["null"], z.targets["a"] - z.targets["null"]
        g_target = κ * g_a - η * g_c
        with edit.on(model):
            ε_c = predict_in_batches(model, z.x, z.t, z.conditions["c"])
            ε_null = predict_in_batches(model, z.x, z.t, z.conditions["null"])
        g = ε_c - ε_null
        share = (g - g_target).square().sum() / (g_c - g_target).square().sum()
        return from_first_process(float(share), model.device)

    def second_moment_prompts(self, model: Model, others: list[str]) -> list[str]:
        """The retained prompts that the second moment C is made of.

        Args:
            model: Its number of tokens per prompt counts.
            others: All retained prompts, in random order.

        Returns:
            The first of them, within MAX_RETAINED_PROMPTS and MAX_RETAINED_TOKENS.
        """
        tokens = model.encode([""])[model.prompt_states_key].shape[1]
        return others[: min(MAX_RETAINED_PROMPTS, MAX_RETAINED_TOKENS // tokens)]

    def build_adversary(self, model: Model, concepts: tuple[Concept, ...]) -> Adversary | None:
        """The adversary of the training, with random states for each concept.

        Args:
            model: Says how wide token states are.
            concepts: The concepts that are trained together.

        Returns:
            The adversary; None where `adversary` is 0.
        """
        if not self.adversary:
            return None
        width = model.encode([""])[model.prompt_states_key].shape[2]
        generator = torch.Generator().manual_seed(self.tune.seed)
        P = random_states(len(concepts), self.adversary, width, generator)
        return Adversary(P, model.prompt_states_key, steps=self.attacks, lr=self.attack_lr)

    def trajectories_per_concept(self, concepts: int) -> int:
        """Trajectories that are sampled for each of so many concepts.

        Args:
            concepts: How many are trained together, 1 or more.

        Returns:
            `trajectories` shared out among them, but at least MIN_TRAJECTORIES each.
        """
        return max(MIN_TRAJECTORIES, self.trajectories // concepts)

    def coefficients(self, concepts: tuple[Concept, ...]) -> tuple[Tensor, Tensor]:
        """κ and η of each concept, both [len(concepts)].

        Args:
            concepts: Those that are trained together. Without `eta`, a concept with an alternative
                gets 0 and one without gets `eta_alone`.
        """
        alone = torch.tensor([concept.alternative is None for concept in concepts])
        if self.eta is None:
            eta = torch.where(alone, self.eta_alone, 0.0)
        else:
            eta = torch.full(alone.shape, self.eta)
        return torch.full(alone.shape, self.kappa), eta

    def replay(
        self,
        model: Model,
        concepts: tuple[Concept, ...],
        others: list[str],
        progress: ProgressCallback,
    ) -> dict[str, Replay]:
        """Record the points that the loss is computed at.

        Args:
            model: The original model.
            concepts: The concepts that are trained together.
            others: Retained prompts.
            progress: Called before each stage.

        Returns:
            "erase": points of the concepts' prompts, their alternatives and ∅; with ρ also "keep":
            points of the retained prompts.
        """
        guidance = model.guidance if self.guidance is None else self.guidance
        settings = RecordingSettings(
            steps=self.sampling_steps,
            points=self.points,
            guidance=guidance,
            paraphrase=self.paraphrase,
            seed=self.tune.seed,
        )
        stages = 1 + bool(self.rho)
        progress(Progress("recording concept prompts", 0, stages))
        n = self.trajectories_per_concept(len(concepts))
        replays = {"erase": record_concepts(model, concepts, n, settings)}
        if self.rho:
            progress(Progress("recording retained prompts", 1, stages))
            replays["keep"] = record_retained(model, others, 2 * self.trajectories, settings)
        return replays


def mse(x: Tensor, y: Tensor) -> Tensor:
    """Mean squared error.

    Args:
        x: Of any shape.
        y: Of the same shape.

    Returns:
        A scalar.
    """
    return (x - y).square().mean()


def shuffled(items: list[T], seed: int) -> list[T]:
    """The items in random order.

    Args:
        items: Any number.
        seed: Of the order.

    Returns:
        A new list.
    """
    order = torch.randperm(len(items), generator=torch.Generator().manual_seed(seed))
    return [items[i] for i in order.tolist()]
