"""Attack an edit: every attack with its controls, judged on prompts and seeds it never saw."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..attacks.catalogue import Budget, build, names_of
from ..attacks.interface import Attack, Target, Victim
from ..attacks.sampling import counted
from ..callbacks import prefixed
from ..concepts.concept import Concept
from ..concepts.words import check_distinct
from ..config.options import Look
from ..config.ranges import check_numbers
from ..edits.edit import Edit
from ..errors import InputError
from ..evaluation.metrics.proportions import difference
from ..evaluation.recovery import recovered, shown
from ..io.output_folder import check_out, whole_folder
from ..io.peer_weights import check_own_edit
from ..io.weights import can_write, user_cache
from ..models.interface import Model
from ..models.loading import load
from ..models.sampling import ImageSampler
from ..reporting.attack_report import AttackImages, statements, write
from .attack_cases import (
    Scene,
    SceneOptions,
    neutral_target,
    other_concept,
    prepare_scene,
)
from .attack_store import Outcome, read_outcomes, store_key, write_outcomes
from .edit_evaluation import complete_as_trained, read_edit
from .options import EvaluationOptions, RunOptions, check_images, evaluation_sampling
from .results import describe_edit, software_versions

log = logging.getLogger(__name__)

FLOOR = "emoji-unaware"  # the folder in the user's cache that holds the floor of the embedded model

ROLES = ("erased", "untouched", "floor")


@dataclass(frozen=True, kw_only=True)
class AttackOptions(RunOptions):
    """Options of `attack_edit`, besides `RunOptions`.

    attacks  "quick", "all", or names of attacks with commas
    budget   "small", or "paper" for the authors' own settings, which take hours
    images   per attack and control, 4 or more
    floor    folder of a model that never knew the concept; None: that of the embedded model where
             the user's cache has it
    seed     of the prompts, images and searches
    look     steps, guidance and judge
    cache    folder of earlier images and outcomes; None: everything is computed
    """

    attacks: str = "quick"
    budget: Budget = "small"
    images: int = 24
    floor: Path | None = None
    seed: int = 0
    look: Look = Look(steps=15)
    cache: Path | None = None

    def __post_init__(self):
        check_numbers(seed=self.seed, images=self.images)
        self.look.check()
        if self.images < 4:
            raise InputError(f"images is {self.images}: a share needs 4 or more")
        if self.cache and not can_write(self.cache):
            object.__setattr__(self, "cache", None)


def attack_edit(path: Path, concepts: Sequence[Concept] = (), **options: Any) -> dict:
    """Attack an edit, and write a folder: report.json, report.html, report.md and samples.png.

    Args:
        path: As `evaluate_edit` takes it.
        concepts: The concept that is attacked; needed where the edit names none or several.
        **options: Fields of `AttackOptions`; `out` is required.

    Returns:
        The content of report.json.

    Raises:
        InputError: The edit cannot be read, belongs to another model, or does not name one concept.
    """
    run = AttackOptions(**options)
    names = names_of(run.attacks)
    check_distinct(concepts)
    check_own_edit(path)
    check_out(run.out, run.force)
    started = time.perf_counter()
    model = load(run.source)
    check_images(model)
    edit = read_edit(path, EvaluationOptions(out=run.out, model=run.model), model, concepts)
    mismatch = edit.check(model, force=run.force)
    concept = one_concept(path, edit, concepts, model)
    floor, floor_reason = load_floor(run, concept)
    sampling = evaluation_sampling(run.look, run.seed).resolve(model)
    sampler = ImageSampler(model, sampling, run.cache, run.progress)
    options_of_cases = SceneOptions(run.images, run.seed, run.look, run.progress)
    scene = prepare_scene(sampler, concept, options_of_cases)
    session = AttackSession(run, sampler, edit, floor, scene)
    rows = []
    for name in names:
        rows += session.rows(name)
    warnings = [*([mismatch] if mismatch else []), *scene.warnings]
    if floor is None:
        warnings.append(f"recovered is not computed: {floor_reason}")
    report = {
        "schema": 1,
        "kind": "attack",
        "concept": [{"erase": concept.erase, "alternative": concept.alternative}],
        **describe_edit(edit, run.source.model, model),
        "attacks": rows,
        "statements": statements(rows, bool(edit.deltas or edit.adapters)),
        "settings": {
            "attacks": list(names),
            "budget": run.budget,
            "images": run.images,
            "seed": run.seed,
            "sampler": sampling.sampler,
            "steps": sampling.steps,
            "guidance": sampling.guidance,
            "judge": scene.benchmark.judge_card,
            "edit_sha256": edit.fingerprint(),
            "floor": None if floor is None else FLOOR if run.floor is None else str(run.floor),
        },
        "cost": {
            "seconds": round(time.perf_counter() - started, 1),
            "forward": sum(row["calls"]["forward"] for row in rows),
            "backward": sum(row["calls"]["backward"] for row in rows),
        },
        "versions": software_versions(),
        "warnings": warnings,
        "failure": None,
    }
    with whole_folder(run.out, run.force) as folder:
        write(folder, report, session.images)
    return report


def one_concept(path: Path, edit: Edit, concepts: Sequence[Concept], model: Model) -> Concept:
    """The concept that is attacked, completed.

    Args:
        path: Of the edit, for the message.
        edit: Its card names concepts.
        concepts: What the caller says.
        model: Completes it, as it did for the training.

    Raises:
        InputError: It is not one concept.
    """
    stored = [Concept.read(fields) for fields in edit.card.get("concepts", [])]
    named = list(concepts or stored)
    if len(named) != 1:
        what = "no concept" if not named else f"{len(named)} concepts"
        raise InputError(
            f"{path} names {what}, and attacks aim at one: name it, for example: "
            f"unconcept attack pig=cow --edit {path}"
        )
    (concept,) = complete_as_trained(model, edit, named)
    return concept


def load_floor(run: AttackOptions, concept: Concept) -> tuple[Model | None, str]:
    """The model that never knew the concept.

    Args:
        run: Names its folder, or does not.
        concept: The concept.

    Returns:
        (model, ""), or (None, reason).

    Raises:
        InputError: The named folder is not such a model.
    """
    folder = run.floor
    if folder is None:
        folder = user_cache() / FLOOR
        if run.source.model != "emoji" or not folder.is_dir():
            return None, "no model that never knew the concept was given (--floor)"
    without = trained_without(folder)
    if without is not None and concept.erase not in without:
        reason = f"{folder} was trained without {', '.join(without)}, but with {concept.erase}"
        if run.floor is not None:
            raise InputError(f"{reason}: it is not a floor for this concept")
        return None, reason
    return load(replace(run.source, model=str(folder), revision=None, variant=None)), ""


def trained_without(folder: Path) -> list[str] | None:
    """The concepts that a model of `pretraining --without` never saw; None for any other folder."""
    file = folder / "quality.json"
    try:
        return list(json.loads(file.read_text(encoding="utf-8"))["without"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def above(none: Tensor, attacked: Tensor) -> dict | None:
    """How many more images show the concept with an attack: {value, ci95}.

    Args:
        none: Marks without it [N].
        attacked: Marks with it [M]; as many are compared as both have.
    """
    n = min(len(none), len(attacked))
    return difference(none[:n], attacked[:n])


@dataclass
class AttackSession:
    """The attacks of one run.

    run      its options
    sampler  of the original model
    edit     that is attacked
    floor    a model that never knew the concept
    scene    cases and judge
    images   of the rows, for the page
    none     marks of the erased model without an attack
    """

    run: AttackOptions
    sampler: ImageSampler
    edit: Edit
    floor: Model | None
    scene: Scene
    images: list[AttackImages] = field(default_factory=list)
    none: Tensor = field(default_factory=partial(torch.zeros, 0))
    identities: dict[int, str] = field(default_factory=dict)
    other: Scene | None = None
    other_sought: bool = False

    def victim(self, role: str) -> Victim | None:
        """The model of a role: "erased", "untouched", or "floor"; None where there is none.

        Args:
            role: One of ROLES.
        """
        original = self.sampler.model
        if role == "erased":
            return Victim(original, self.edit, original)
        if role == "untouched":
            return Victim(original, None, original)
        return None if self.floor is None else Victim(self.floor, None, original)

    def rows(self, name: str) -> list[dict]:
        """The rows of one attack in report.json.

        Args:
            name: In the catalogue.
        """
        attack: Attack = build(name, self.run.budget)
        cases, _ = self.scene.cases(attack.group, self.run.images)
        if not cases:
            return [self.empty_row(name, attack, "there are no such prompts for this concept")]
        outcomes: dict[str, dict[str, Outcome]] = {}
        try:
            for role in ROLES:
                victim = self.victim(role)
                if victim is not None and self.applies(name, role):
                    outcomes[role] = self.outcomes(name, victim, role)
            erased = self.victim("erased")
            assert erased is not None
            outcomes["chance"] = self.outcomes(name, erased, "chance")
            if attack.searches:
                outcomes["other target"] = self.other_target(name, erased)
                if attack.behind_prompt:
                    untouched = self.victim("untouched")
                    assert untouched is not None
                    outcomes["capacity"] = self.outcomes(name, untouched, "capacity")
        except InputError as error:
            return [self.empty_row(name, attack, str(error))]
        return list(self.judged(name, attack, outcomes))

    def applies(self, name: str, role: str) -> bool:
        """Is there anything to attack? Without an edit nothing can be turned down.

        Args:
            name: In the catalogue.
            role: One of ROLES.
        """
        return name != "tracing" or role == "erased"

    def empty_row(self, name: str, attack: Attack, reason: str) -> dict:
        """The row of an attack that cannot be run.

        Args:
            name: In the catalogue.
            attack: The attack.
            reason: Why.
        """
        return {
            "attack": name,
            "label": "",
            "access": attack.access,
            "n": 0,
            "shown": {},
            "recovered": {"value": None, "reason": reason},
            "calls": {"forward": 0, "backward": 0},
            "seconds": 0.0,
            "found": "",
            "measures": {},
            "chance_means": attack.chance_means,
            "reason": reason,
        }

    def other_target(self, name: str, victim: Victim) -> dict[str, Outcome]:
        """The attack, aimed at a concept that was not erased.

        Args:
            name: In the catalogue.
            victim: The erased model.
        """
        if not self.other_sought:
            self.other_sought = True
            concept = other_concept(self.sampler.model, self.scene)
            if concept is not None:
                options = SceneOptions(
                    self.control_images, self.run.seed, self.run.look, self.run.progress
                )
                self.other = prepare_scene(self.sampler, concept, options)
        return {} if self.other is None else self.outcomes(name, victim, "other target")

    @property
    def control_images(self) -> int:
        """Images of the controls that are not compared with others."""
        return max(4, self.run.images // 2)

    def outcomes(self, name: str, victim: Victim, kind: str) -> dict[str, Outcome]:
        """Run an attack, or read what it did earlier.

        Args:
            name: In the catalogue.
            victim: The model.
            kind: A role, "chance", "other target" or "capacity".
        """
        attack: Attack = build(name, self.run.budget)
        scene, n, group = self.scene, self.run.images, attack.group
        target = scene.target
        if kind == "other target":
            assert self.other is not None
            scene, n = self.other, self.control_images
            target = scene.target
        elif kind == "capacity":
            target, n, group = neutral_target(scene), self.control_images, "neutral"
        _, cases = scene.cases(group, n)
        key = self.key(victim, repr(attack), kind == "chance", target, cases)
        folder = self.run.cache and self.run.cache / "attacks"
        stored = read_outcomes(folder, key)
        if stored is not None:
            return stored
        target = replace(target, progress=prefixed(self.run.progress, f"{name}, {kind}"))
        models = [victim.model, self.sampler.model]
        with counted(*models) as calls:
            started = time.perf_counter()
            prepare = attack.chance if kind == "chance" else attack.prepare
            outcomes = {}
            for label, attacked in prepare(victim, target).items():
                before = (calls.forward, calls.backward) if outcomes else (0, 0)
                images = attacked.sample(cases)
                outcomes[label] = Outcome(
                    images=images,
                    found=attacked.found,
                    measures=attacked.measures,
                    forward=calls.forward - before[0],
                    backward=calls.backward - before[1],
                    seconds=round(time.perf_counter() - started, 1),
                )
                started = time.perf_counter()
        write_outcomes(folder, key, outcomes)
        return outcomes

    def key(self, victim: Victim, attack: str, chance: bool, target: Target, cases: object) -> str:
        """What outcomes depend on.

        Args:
            victim: The model.
            attack: The attack with its settings, as text.
            chance: Is it the control without the attack?
            target: What the attacker has.
            cases: What is sampled.
        """
        edit: Any = victim.edit
        return store_key(
            self.identity(victim.model),
            None if edit is None else edit.fingerprint(),
            None if victim.original is None else self.identity(victim.original),
            attack,
            chance,
            (target.concept, target.search, target.named, target.others),
            (target.sampling, target.seed, cases),
            store_key(target.images.numpy().tobytes(), target.other_images.numpy().tobytes()),
            software_versions(),
        )

    def identity(self, model: Model) -> str:
        """A hash of a model, computed once.

        Args:
            model: Without an edit.
        """
        if id(model) not in self.identities:
            self.identities[id(model)] = model.image_cache_key()
        return self.identities[id(model)]

    def judged(
        self, name: str, attack: Attack, outcomes: Mapping[str, Mapping[str, Outcome]]
    ) -> Iterator[dict]:
        """Rows of report.json.

        Args:
            name: In the catalogue.
            attack: The attack.
            outcomes: By role or control, and by label.
        """
        for label, erased in outcomes["erased"].items():
            marks: dict[str, Tensor] = {}
            for kind, by_label in outcomes.items():
                if label in by_label:
                    marks[kind] = self.judge(attack, kind, by_label[label].images)
            if name == "standard":
                self.none = marks["erased"]
            marks["none"] = self.none * (name != "standard")
            chance = outcomes["chance"].get(label)
            self.keep_images(name, label, erased, outcomes.get("untouched", {}).get(label))
            row = {
                "attack": name,
                "label": label,
                "access": attack.access,
                "n": len(erased.images),
                "shown": {kind: shown(values) for kind, values in marks.items()},
                "above_none": above(marks["none"], marks["erased"]),
                "recovered": recovered(marks),
                "calls": {"forward": 0, "backward": 0},
                "seconds": erased.seconds,
                "found": erased.found,
                "measures": dict(erased.measures),
                "chance_means": attack.chance_means if chance else "",
                "reason": None,
            }
            for by_label in outcomes.values():
                if label in by_label:
                    row["calls"]["forward"] += by_label[label].forward
                    row["calls"]["backward"] += by_label[label].backward
            if name == "standard":
                del row["shown"]["none"], row["above_none"]
            yield row

    def judge(self, attack: Attack, kind: str, images: Tensor) -> Tensor:
        """Whether images show what the attack aims at.

        Args:
            attack: The attack.
            kind: A role or a control.
            images: [N, 3, H, W] in [0, 1].
        """
        scene, group = self.scene, attack.group
        if kind == "other target":
            assert self.other is not None
            scene = self.other
        elif kind == "capacity":
            group = "neutral"
        cases, _ = scene.cases(group, len(images))
        return scene.shown(images, cases, whole=attack.own_prompt)

    def keep_images(
        self, name: str, label: str, erased: Outcome, untouched: Outcome | None
    ) -> None:
        """Keep the images of a row for the page.

        Args:
            name: Of the attack.
            label: Of the row.
            erased: What the attack did to the erased model.
            untouched: And to the untouched one.
        """
        group = build(name, self.run.budget).group
        cases, _ = self.scene.cases(group, len(erased.images))
        self.images.append(
            AttackImages(
                title=f"{name}, {label}" if label else name,
                prompts=[case.prompt for case in cases],
                attacked=erased.images,
                untouched=None if untouched is None else untouched.images,
            )
        )
