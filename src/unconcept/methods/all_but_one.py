"""All but One: surgical concept erasing with model preservation.

Source      Hong, Lee, Woo. AAAI 2024, arXiv 2312.12807: its idea, in our formulation
            (docs/methods/formulation.md).
Idea        Change what the prompt adds (the guidance term), hold what the model draws unprompted.
            First by a closed form, which holds the unconditional prediction exactly; then, where
            it is asked for, by gradient descent.
Equation    W = W* (I + S): the prompt states of the concept become those of the alternative
            (training/closed_form.py)
            L(θ) = E ‖[ε_θ(x,c) − sg ε_θ(x,∅)] − g_target‖²
                 + λ E ‖ε_θ(x,∅) − ε*(x,∅)‖² + ρ E ‖ε_θ(x,k) − ε*(x,k)‖²
            g_target = κ g*(x,a) − η g*(x,c),      g(x,c) = ε(x,c) − ε(x,∅)
Cost        The closed form: one pass of the text encoder over at most 2,048 retained prompts, no
            network call.
            The loss: a replay of trajectories, once; then one forward and one backward of the
            student a step.
Problems    It steers prompts. Without a prompt the model still holds the concept: probes that do
            not go through the guidance (inpainting, inversion of pictures that show it) can bring
            it back.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from ..callbacks import Progress, ProgressCallback, no_progress, prefixed
from ..concepts.concept import Concept
from ..concepts.retain import retain_prompts, with_retained
from ..concepts.templates import rotated
from ..edits.edit import Edit
from ..edits.provenance import make_card, model_identity
from ..edits.weight_deltas import Deltas
from ..errors import InputError
from ..models.conditioning import join, per_row, predict_in_batches
from ..models.interface import Model
from ..training.adversary import Adversary, random_states
from ..training.closed_form import ClosedForm, solve
from ..training.config import Tune
from ..training.distributed import from_first_process
from ..training.paraphrase import mix_paraphrases, paraphrase_words, with_paraphrases
from ..training.replay import Replay, ReplayPlan, record
from ..training.replay_trainer import (
    HELD_OUT_POINTS,
    Loss,
    ReplayTraining,
    Student,
    evenly_spaced,
    fit,
)

T = TypeVar("T")
MOST, TOKENS = (
    2048,
    2**18,
)  # prompts that C is made of, and tokens of them: of T5's 512 each, 512 prompts
FIRMEST = 5.0  # λ of the closed form below which it is not lowered any more, but trained on
ROUND = 100  # steps of a round where `tune` names none
LEAST = 4  # trajectories of a concept


def closed_form_alone() -> Tune:
    """No training."""
    return Tune(steps=0)


@dataclass(frozen=True, kw_only=True)
class AllButOne:
    """Call it with a model and concepts; get an Edit. Defaults were chosen by measurement on the
    embedded model.

    start         "closed": from the closed form; "none": from nothing, the paper's fine-tuning
    closed        settings of the closed form
    until         training by the loss ends when no more than this share of the concept's guidance
                  is missing on held-out points
    rounds        of `tune.steps` steps each, at most; each continues from the one before, with
                  twice the learning rate where less than half of what was missing was gained
    lam           λ, how firmly the unconditional prediction is held
    kappa, eta    of g_target; η None: 0 with an alternative, `eta_alone` without one, where a is
                  what is left of the prompt without the concept
    onset         share of the noise schedule up to which the concept is taken away; above, the
                  prompt adds what it always did, so that layout and background stay those of the
                  same seed; 1: everywhere
    surgical      with the stop-gradient (only the conditional side moves), or the joint form
                  without it
    rho           ρ, how firmly other prompts are held; 0: no keep term
    together      concepts that are trained in one run, at most; more are trained in groups of even
                  size, and the groups' edits added up
    trajectories  sampled for a group's concepts, `LEAST` at least for each; twice as many of other
                  prompts, for the keep term
    adversary     states that an adversary may put behind the prompt of every other point, to be
                  erased there, too; 0: no adversary. It takes `attacks` steps at `attack_lr` in
                  every step of the training, each forward and back on one row a point where the
                  step has three
    paraphrase    r: at every other point the concept's states are moved by up to this share of the
                  way to a synonym's or a near word's, and what is asked there is erased, too; 0:
                  nowhere. It costs nothing but the conditions
    points        kept of each trajectory's `sampling_steps`, about: every `sampling_steps //
                  points`-th; guidance None: the model's own
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
        if self.trajectories < LEAST or not 1 <= self.points <= self.sampling_steps:
            raise InputError(
                f"trajectories must be {LEAST} or more, and points between 1 and sampling_steps"
            )

    def loss(self, student: Student, z: Replay, kappa: Tensor, eta: Tensor) -> Tensor:
        """The equation above without the keep term. kappa, eta: [N, 1, ..., 1], for each point its
        own.
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
        return mse(student(z.x, z.t, z.conditions["k"]), z.targets["k"])

    def __call__(
        self, model: Model, *concepts: Concept, progress: ProgressCallback = no_progress
    ) -> Edit:
        """Erase the concepts from the model, all in one Edit. The model itself is not changed."""
        if not concepts:
            raise InputError("no concept to erase was given")
        concepts = model.complete(concepts)
        card = {**make_card("all-but-one", self, concepts, model), "training": summed([])}
        edit = Edit({}, card)
        if self.start == "closed":
            progress(Progress("closed form", 0, 1))
            retained = self.read(
                model, shuffled(retain_prompts(concepts, model.vocabulary), self.tune.seed)
            )
            deltas, facts = solve(model, concepts, retained, self.closed)
            edit = Edit(deltas, {**edit.card, "closed_form": facts})
        if self.trains:
            finish = self.in_groups if len(concepts) > self.together else self.trained
            edit = finish(model, concepts, edit, progress)
        return replace(edit, card={**edit.card, **model_identity(model, edit.deltas)})

    @property
    def trains(self) -> bool:
        """Does the loss take part?"""
        return self.start == "none" or self.tune.steps > 0 or self.hardens

    def stronger(self) -> "AllButOne | None":
        """What to try where the erasure did not work: first a closed form that gives less weight
        to what is retained, then the loss besides.
        """
        if self.start == "closed" and not self.trains:
            if self.closed.lam > FIRMEST:
                return replace(self, closed=replace(self.closed, lam=self.closed.lam / 4))
            return replace(self, tune=replace(self.tune, steps=ROUND))
        return None

    @property
    def round(self) -> Tune:
        """How the first round trains."""
        return self.tune if self.tune.steps else replace(self.tune, steps=ROUND)

    @property
    def hardens(self) -> bool:
        """Does training look for other ways to ask for the concept?"""
        return self.adversary > 0 or self.paraphrase > 0

    def trained(
        self, model: Model, concepts: tuple[Concept, ...], edit: Edit, progress: ProgressCallback
    ) -> Edit:
        """`edit`, and on top of it what the loss adds: in rounds, until no more than `until` is
        missing on held-out points.
        """
        others = shuffled(retain_prompts(concepts, model.vocabulary), self.tune.seed)
        replays = self.replay(model, concepts, others, progress)
        adversary = self.opponent(model, concepts)
        loss, besides = (
            self.objective(model, concepts, adversary),
            {"adversary": adversary.P} if adversary else {},
        )
        tune = self.round
        runs: list[dict] = []
        missing = [self.missing(model, concepts, edit, replays["erase"])]
        while len(runs) < self.rounds and (missing[-1] > self.until or (self.hardens and not runs)):
            with edit.on(model):
                added = fit(
                    model,
                    replays,
                    loss,
                    ReplayTraining(tune, self.read(model, others), besides),
                    progress=progress,
                )
            runs.append({**added.card["training"], "lr": tune.lr})
            edit = replace(edit, deltas=Deltas.of(edit.deltas) + Deltas.of(added.deltas))
            missing.append(self.missing(model, concepts, edit, replays["erase"]))
            if missing[-1] > missing[-2] / 2:
                tune = replace(tune, lr=2 * tune.lr)
        return replace(edit, card={**edit.card, "training": {**summed(runs), "missing": missing}})

    def objective(
        self, model: Model, concepts: tuple[Concept, ...], adversary: Adversary | None
    ) -> Loss:
        """The loss of a batch of the replay."""
        kappa, eta = (coefficient.to(model.device) for coefficient in self.coefficients(concepts))

        def loss(student: Student, z: Mapping[str, Replay]) -> Tensor:
            erase = z["erase"]
            of, early = (
                erase.trajectory // self.each(len(concepts)),
                erase.t > self.onset * model.timesteps,
            )
            if self.paraphrase:
                erase = mix_paraphrases(erase)
            κ, η = (
                kappa[of].where(~early, 0.0),
                eta[of].where(~early, -1.0),
            )  # κ = 0 and η = -1: g_target = g*(x,c)
            if adversary:
                erase = adversary.disguise_batch(erase, student, of)
            total = self.loss(student, erase, per_row(κ, erase.x), per_row(η, erase.x))
            return total + self.rho * self.keep_loss(student, z["keep"]) if self.rho else total

        return loss

    @torch.no_grad()
    def missing(
        self, model: Model, concepts: tuple[Concept, ...], edit: Edit, replay: Replay
    ) -> float:
        """‖g(x,c) − g_target‖² / ‖g*(x,c) − g_target‖² over held-out points of the replay: 1
        before anything is done, 0 when all is.
        """
        z = replay[evenly_spaced(replay.split(self.tune.held_out)[1], HELD_OUT_POINTS)]
        κ, η = (
            per_row(c[z.trajectory // self.each(len(concepts))], z.x)
            for c in self.coefficients(concepts)
        )
        g_c, g_a = z.targets["c"] - z.targets["null"], z.targets["a"] - z.targets["null"]
        g_target = κ * g_a - η * g_c
        with edit.on(model):
            g = predict_in_batches(model, z.x, z.t, z.conditions["c"]) - predict_in_batches(
                model, z.x, z.t, z.conditions["null"]
            )
        return from_first_process(
            float((g - g_target).square().sum() / (g_c - g_target).square().sum()), model.device
        )

    def read(self, model: Model, others: list[str]) -> list[str]:
        """Of the retained prompts those that the second moment C is made of."""
        return others[: min(MOST, TOKENS // model.encode([""])[model.prompt_states_key].shape[1])]

    def in_groups(
        self, model: Model, concepts: tuple[Concept, ...], edit: Edit, progress: ProgressCallback
    ) -> Edit:
        """Each group is trained on top of `edit`, with the others' concepts retained as they are
        there; what the groups add is added up.
        """
        ends = list(itertools.accumulate(self.groups(len(concepts))))
        deltas, runs = Deltas.of(edit.deltas), []
        for i, (start, end) in enumerate(zip([0, *ends], ends)):
            others = [
                c for c in (*concepts[:start], *concepts[end:]) if c.erase not in model.vocabulary
            ]
            group = tuple(with_retained(c, others) for c in concepts[start:end])
            first = edit if self.start == "closed" else Edit({}, edit.card)
            trained = self.trained(
                model, group, first, prefixed(progress, f"group {i + 1} of {len(ends)}")
            )
            added = Deltas.of(trained.deltas) + Deltas.of(first.deltas) * -1.0
            deltas, runs = deltas + added, [*runs, trained.card["training"]]
        return Edit(deltas, {**edit.card, "training": {**summed(runs), "groups": runs}})

    def groups(self, concepts: int) -> list[int]:
        """How many concepts are trained together, run by run."""
        n = -(-concepts // self.together)
        return [(i + 1) * concepts // n - i * concepts // n for i in range(n)]

    def opponent(self, model: Model, concepts: tuple[Concept, ...]) -> Adversary | None:
        if not self.adversary:
            return None
        width, generator = (
            model.encode([""])[model.prompt_states_key].shape[2],
            torch.Generator().manual_seed(self.tune.seed),
        )
        P = random_states(len(concepts), self.adversary, width, generator)
        return Adversary(P, model.prompt_states_key, steps=self.attacks, lr=self.attack_lr)

    def each(self, concepts: int) -> int:
        """Trajectories of each of so many concepts."""
        return max(LEAST, self.trajectories // concepts)

    def coefficients(self, concepts: tuple[Concept, ...]) -> tuple[Tensor, Tensor]:
        """κ and η of each concept."""
        alone = torch.tensor([concept.alternative is None for concept in concepts])
        eta = (
            torch.where(alone, self.eta_alone, 0.0)
            if self.eta is None
            else torch.full(alone.shape, self.eta)
        )
        return torch.full(alone.shape, self.kappa), eta

    def replay(
        self,
        model: Model,
        concepts: tuple[Concept, ...],
        others: list[str],
        progress: ProgressCallback,
    ) -> dict[str, Replay]:
        """ "erase": points where c, a and ∅ were asked; "keep": points of other prompts."""
        guidance = model.guidance if self.guidance is None else self.guidance
        settings: dict[str, Any] = dict(
            steps=self.sampling_steps, guidance=guidance, points=self.points
        )
        stages = 1 + bool(self.rho)
        progress(Progress("recording trajectories of the concept", 0, stages))
        # Each trajectory begins at a phrasing of its own and goes on through the others.
        n = self.each(len(concepts))
        pairs = [
            rotated(all_pairs, r * len(all_pairs) // n)
            for all_pairs in (c.pairs() for c in concepts)
            for r in range(n)
        ]
        # Half of the trajectories are steered by the concept, half by what shall come instead: the
        # edited model walks there.
        drive = [own[0][r % 2] for r, own in enumerate(pairs)]
        asked = {
            "c": [[c for c, _ in own] for own in pairs],
            "a": [[a for _, a in own] for own in pairs],
            "null": [[""]] * len(pairs),
        }
        near = (
            {
                "near": [
                    rotated(paraphrase_words(model, c, r), r * len(c.pairs()) // n)
                    for c in concepts
                    for r in range(n)
                ]
            }
            if self.paraphrase
            else {}
        )
        erase = record(
            model,
            ReplayPlan(
                drive=drive, prompts=asked, conditions_only=near, seed=self.tune.seed, **settings
            ),
        )
        replays = {
            "erase": with_paraphrases(
                erase, model.prompt_states_key, self.paraphrase, self.tune.seed
            )
            if near
            else erase
        }
        if self.rho:
            progress(Progress("recording trajectories of what is kept", 1, stages))
            k = [rotated(others, r * self.points) for r in range(2 * self.trajectories)]
            plan = ReplayPlan(
                drive=[own[0] for own in k],
                prompts={"k": k},
                seed=self.tune.seed + 500_000,
                **settings,
            )
            replays["keep"] = record(model, plan)
        return replays


def summed(rounds: list[dict]) -> dict:
    """What the rounds of a training took together, their held-out losses one after the other, and
    each of them.
    """
    steps, seconds, trace = 0, 0.0, []
    for run in rounds:
        trace += [[steps + step, value] for step, value in run["held_out_loss"]]
        steps, seconds = steps + run["steps"], seconds + run["seconds"]
    total: dict[str, Any] = {"steps": steps, "seconds": round(seconds, 2), "held_out_loss": trace}
    return {**total, "rounds": rounds} if len(rounds) > 1 else total


def mse(x: Tensor, y: Tensor) -> Tensor:
    return (x - y).square().mean()


def shuffled(items: list[T], seed: int) -> list[T]:
    return [
        items[i]
        for i in torch.randperm(len(items), generator=torch.Generator().manual_seed(seed)).tolist()
    ]
