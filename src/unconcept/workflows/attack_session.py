"""The attacks of one run: each on every model and control, judged, as rows of the report."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..attacks.catalogue import build
from ..attacks.interface import Attack, Target, Victim
from ..attacks.sampling import counted
from ..callbacks import prefixed
from ..edits.edit import Edit
from ..errors import InputError
from ..evaluation.metrics.proportions import difference
from ..evaluation.recovery import recovered, shown
from ..models.interface import Model
from ..models.sampling import ImageSampler
from ..reporting.attack_report import SHOWN_IMAGES, AttackImages
from .attack_cases import Scene, SceneOptions, neutral_target, other_concept, prepare_scene
from .attack_judgement import Judged
from .attack_store import Outcome, read_outcomes, store_key, write_outcomes
from .options import AttackOptions
from .results import software_versions

ROLES = ("erased", "untouched", "floor")

IMAGES_ONLY = "it is for images, and this is a text-to-video model"

# What samples.jsonl says of the images of a role; controls are not in it.
STAGES = {"untouched": "before", "erased": "after"}


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
    records  of the rows, for samples.jsonl
    none     marks of the erased model without an attack
    plain    its first images
    """

    run: AttackOptions
    sampler: ImageSampler
    edit: Edit
    floor: Model | None
    scene: Scene
    images: list[AttackImages] = field(default_factory=list)
    records: list[dict] = field(default_factory=list)
    none: Tensor = field(default_factory=partial(torch.zeros, 0))
    plain: Tensor | None = None
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
        attack = self.build(name)
        if self.sampler.model.frames and not attack.clips:
            return [self.empty_row(name, attack, IMAGES_ONLY)]
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

    def build(self, name: str) -> Attack:
        """An attack with the settings of the run.

        Args:
            name: In the catalogue.
        """
        return build(name, self.run.budget, bool(self.sampler.model.frames))

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
            "over_frames": None,
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
        attack = self.build(name)
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
            looks: dict[str, Judged] = {}
            for kind, by_label in outcomes.items():
                if label in by_label:
                    looks[kind] = self.judge(attack, kind, by_label[label].images)
            marks = {kind: look.concept() for kind, look in looks.items()}
            if name == "standard":
                self.none, self.plain = marks["erased"], erased.images[:SHOWN_IMAGES].clone()
            marks["none"] = self.none * (name != "standard")
            chance = outcomes["chance"].get(label)
            self.keep_images(name, label, erased, outcomes.get("untouched", {}).get(label))
            self.keep_records(f"{name}, {label}" if label else name, attack, looks)
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
                "over_frames": looks["erased"].over_frames(),
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

    def judge(self, attack: Attack, kind: str, images: Tensor) -> Judged:
        """Images, to be judged by whether they show what the attack aims at.

        Args:
            attack: The attack.
            kind: A role or a control.
            images: [N, 3, H, W] or clips [N, F, 3, H, W] in [0, 1].
        """
        scene, group = self.scene, attack.group
        if kind == "other target":
            assert self.other is not None
            scene = self.other
        elif kind == "capacity":
            group = "neutral"
        return scene.judged(images, group, whole=attack.own_prompt)

    def keep_records(self, title: str, attack: Attack, looks: Mapping[str, Judged]) -> None:
        """Keep what the judge says of every image of a row.

        Args:
            title: Of the row.
            attack: The attack.
            looks: By role or control.
        """
        for role, stage in STAGES.items():
            if role in looks:
                look, erased = looks[role], stage == "after"
                _, cases = self.scene.cases(attack.group, len(look.images))
                self.records += look.records(
                    cases.seeds,
                    stage=stage,
                    method=self.edit.card.get("method") if erased else None,
                    strength=1.0 if erased else 0.0,
                    attack=title,
                )

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
        group = self.build(name).group
        cases, _ = self.scene.cases(group, SHOWN_IMAGES)
        same_cases = group == "target" and name != "standard"
        self.images.append(
            AttackImages(
                title=f"{name}, {label}" if label else name,
                prompts=[case.prompt for case in cases],
                attacked=erased.images[:SHOWN_IMAGES].clone(),
                untouched=None if untouched is None else untouched.images[:SHOWN_IMAGES].clone(),
                plain=self.plain if same_cases else None,
            )
        )
