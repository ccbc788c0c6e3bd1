"""Evaluate: the same seeds before and after, every measure over them, and the controls that a sceptic would ask for.

Each difference between before and after is the edit's own: prompts, seeds and sampler are the same. Two controls, without any edit, say how
large a difference is: another seed (the most that can change) and another sampler (the least that anybody notices).
"""

import csv
import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from .concept import Concept, article
from .edit import Edit, base_fingerprint
from .errors import InputError
from .gallery import pictures
from .judges import Judge
from .metrics import background_change, drift, edge_change, feature_change, kid, layout_change, pixel_change, proportion, ssim
from .models.base import Model
from .train import Progress

GROUPS = ("target", "synonym", "implied", "neighbour", "unrelated")
# Pictures of each group. Short: what `erase` does on its way. Full: more than a thousand pictures, before and after and controls together.
Extent = Literal["short", "full", "none"]
QUESTIONS: dict[Extent, dict[str, int]] = {
    "short": {"target": 20, "synonym": 8, "neighbour": 15, "unrelated": 12},
    "full": {"target": 150, "synonym": 60, "implied": 30, "neighbour": 120, "unrelated": 120},
    "none": {},
}
CONTROLS = {"short": 8, "full": 32, "none": 0}
OTHER_SAMPLER = "dpm-solver++"

BETTER = {
    "concept": "lower", "alternative": "higher", "right": "higher", "other": "higher", "style": "higher", "background": "higher", "all": "higher",
}  # fmt: skip
# Of pairs. The name says the convention; ssim rises with likeness, the others fall.
CHANGES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "pixel change, L1": pixel_change,
    "layout change, 8x8 L1": layout_change,
    "edge change, 1-F1": edge_change,
    "background change, rim L1": background_change,
    "ssim, gaussian 11": ssim,
}
PIXELS = "pixel change, L1"


class Features(Protocol):
    """A feature space: pictures [N, 3, H, W] in [0, 1] -> [N, D]."""

    name: str

    def __call__(self, pictures: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Ask:
    """A prompt of one group about one word, for models whose answers nobody knows beforehand."""

    prompt: str
    group: str
    name: str
    way: str = "plain"
    instead: str = ""
    seed: int | None = None


class Plain:
    """The questions for a model whose world nobody knows. Without a judge, pictures and their changes can be shown, and presence is not scored.

    With one (unconcept.judges, or any callable of that kind): a name is seen where its probability is the highest among the concept, its
    synonyms, the alternative and the words that are asked besides.
    """

    def __init__(
        self,
        concepts: Sequence[Concept],
        vocabulary: Sequence[str],
        n: Mapping[str, int],
        own: Sequence[Ask] = (),
        judge: Judge | None = None,
    ):
        self.concepts, self.judge = tuple(concepts), judge
        pairs = [(c, *pair) for c in concepts for pair in c.pairs()]
        names = {name for c in concepts for name in (c.erase, *c.synonyms)}
        rest = [w for w in dict.fromkeys([*(w for c in concepts for w in c.keep), *vocabulary]) if w not in names]
        chosen = [pairs[i % len(pairs)] for i in range(n.get("target", 0))]
        self.questions = [Ask(prompt, "target", concept.erase, instead=instead) for concept, prompt, instead in chosen]
        self.questions += [Ask(article(rest[i % len(rest)]), "unrelated", rest[i % len(rest)]) for i in range(n.get("unrelated", 0))]
        self.questions += own

    def marks(self, pictures: Tensor) -> dict[str, Tensor]:
        """The judge's marks [N]: 0, 1, or NaN where a mark does not apply; empty without a judge."""
        if self.judge is None:
            return {}
        told = [name for c in self.concepts for name in (c.erase, *c.synonyms, c.alternative or c.erase)]
        names = list(dict.fromkeys([*told, *(q.name for q in self.questions if q.name)]))
        seen = [names[i] for i in self.judge(pictures, names).argmax(1).tolist()]
        marks = {name: torch.full((len(seen),), math.nan) for name in ("concept", "alternative", "right")}
        for i, (q, word) in enumerate(zip(self.questions, seen)):
            if q.group in ("target", "synonym", "implied"):
                asked = [c for c in self.concepts if c.erase == q.name] or self.concepts
                marks["concept"][i] = any(word in (c.erase, *c.synonyms) for c in asked)
                if q.instead:
                    marks["alternative"][i] = any(word == c.alternative for c in asked)
            elif q.name:
                marks["right"][i] = word == q.name
        return marks

    def values(self, pictures: Tensor) -> dict[str, Tensor]:
        """How well each picture fits its prompt [N], by name, where the judge can tell."""
        if self.judge is None or not hasattr(self.judge, "agreement"):
            return {}
        return {f"CLIP score, cosine, {self.judge.name}": self.judge.agreement(pictures, [q.prompt for q in self.questions])}


@dataclass(frozen=True)
class Evaluation:
    """Rows {name, group, before, after, n, ci95, better} (report.json, schema 1), and the pictures they are about [N, 3, H, W]."""

    rows: list[dict]
    before: Tensor
    after: Tensor


def before_edit(
    model: Model, exam, *, seed: int = 0, steps: int = 25, guidance: float = 5.0, cache: Path | None = None,
    report: Callable[[Progress], None] = lambda progress: None,
) -> Tensor:  # fmt: skip
    """The untouched model's pictures of the questions: what `evaluate` compares with."""
    made_by = base_fingerprint(model) if cache else ""
    given: dict[str, Any] = dict(steps=steps, guidance=guidance, made_by=made_by, cache=cache, report=report, stage="pictures before")
    return pictures(model, [q.prompt for q in exam.questions], seeds(exam, seed), **given)


def seeds(exam, seed: int) -> list[int]:
    """A seed for each question: the caller's own, or one counted up."""
    return [seed * 100_000 + i if q.seed is None else q.seed for i, q in enumerate(exam.questions)]


def evaluate(
    model: Model, edit: Edit, exam, *, before: Tensor | None = None, seed: int = 0, steps: int = 25, guidance: float = 5.0, controls: int = 32,
    full: bool = True, features: Features | None = None, cache: Path | None = None, report: Callable[[Progress], None] = lambda progress: None,
) -> Evaluation:  # fmt: skip
    """Ask every question of `exam` before and after `edit`, from the same seeds.

    before: the untouched model's pictures where they are there already (`before_edit`).
    full: also what needs more pictures: the distance of the erased pictures to the alternative's own, and the drift of ε(∅).
    Costs 2 · len(questions) + 2 · controls pictures, and 2 · the target questions more when full.
    """
    asked, first = [q.prompt for q in exam.questions], seeds(exam, seed)
    given: dict[str, Any] = dict(steps=steps, guidance=guidance, cache=cache, report=report)
    base = base_fingerprint(model) if cache else ""
    make = lambda stage, prompts, at, edited="", **more: pictures(
        model, prompts, at, **given, **more, made_by=base and base + edited, stage=stage
    )
    if before is None:
        before = before_edit(model, exam, seed=seed, **given)
    if not asked:
        return Evaluation([], before, before)
    with edit.on(model):
        after = make("pictures after", asked, first, fingerprint(edit))
    rows = scores(exam, before, after, features)

    some = torch.linspace(0, len(asked) - 1, min(controls, len(asked))).long().tolist()
    again = [asked[i] for i in some]
    another = make("control: another seed", again, [first[i] + 50_000 for i in some])
    rows += changes(before[some], another, "structure", "control, another seed: ", None, features)
    other = make("control: another sampler", again, [first[i] for i in some], sampler=OTHER_SAMPLER)
    rows += changes(before[some], other, "structure", "control, another sampler: ", None, features)
    rows.append(selectivity(exam, before, after))
    if full:
        rows += whole(exam, before, after, features, make)
        rows.append(median_row("drift of the unconditional prediction", "structure", drift(model, edit.on(model), steps=steps), "lower"))
    return Evaluation(rows, before, after)


def scores(exam, before: Tensor, after: Tensor, features: Features | None = None) -> list[dict]:
    """For each group: shares by the judge's marks, in all and, where it matters, part by part; then the changes of the pairs."""
    marks, rows = (exam.marks(before), exam.marks(after)), []
    values = exam.values(before), exam.values(after)

    def share(name: str, group: str, of: Tensor, part: str = "") -> None:
        first, then = (proportion(m[name][of]) for m in marks)
        if first and then:
            rows.append({"name": f"{name}: {part}" if part else name, "group": group, "before": first["value"], "after": then["value"], "n": then["n"], "ci95": then["ci95"], "better": BETTER[name]})  # fmt: skip

    for group in GROUPS:
        of = torch.tensor([q.group == group for q in exam.questions])
        if not of.any():
            continue
        for name in marks[0]:
            if name == "right" and group in ("target", "synonym"):
                continue  # there the right answer is the one that is erased: `concept` says it
            share(name, group, of)
            if (name, group) in (("concept", "target"), ("alternative", "target")):
                for way in dict.fromkeys(q.way for q in exam.questions if q.group == group):
                    share(name, group, torch.tensor([q.group == group and q.way == way for q in exam.questions]), way)
            if (name, group) == ("right", "neighbour"):
                for word in dict.fromkeys(q.name for q in exam.questions if q.group == group):
                    share(name, group, torch.tensor([q.group == group and q.name == word for q in exam.questions]), word)
        for name, then in values[1].items():
            rows.append({**median_row(name, group, then[of], "higher"), "before": round(values[0][name][of].median().item(), 4)})
        rows += changes(before[of], after[of], group, "", "lower", features)
    return rows


def changes(before: Tensor, after: Tensor, group: str, prefix: str, better: str | None, features: Features | None) -> list[dict]:
    """One row for each way to measure how far pairs of pictures are apart."""
    opposite = better and "higher"
    rows = [
        median_row(prefix + name, group, change(before, after), opposite if name.startswith("ssim") else better)
        for name, change in CHANGES.items()
    ]
    if features is not None:
        rows.append(
            median_row(f"{prefix}feature change, 1-cos {features.name}", group, feature_change(features(before), features(after)), better)
        )
    return rows


def median_row(name: str, group: str, values: Tensor, better: str | None) -> dict:
    """Median over pairs, with a bootstrap interval. Pictures that are no numbers have no median: null, and the reason."""
    if not values.isfinite().all():
        return unmeasured(name, group, f"{int((~values.isfinite()).sum())} of {len(values)} values are no numbers", better)
    medians = values[resample(len(values))].median(1).values
    low, high = medians.quantile(torch.tensor([0.025, 0.975])).tolist()
    return {"name": name, "group": group, "before": None, "after": round(values.median().item(), 4), "n": len(values), "ci95": [round(low, 4), round(high, 4)], "better": better}  # fmt: skip


def resample(n: int, times: int = 2000) -> Tensor:
    """Bootstrap: [times, n] indices, always the same."""
    return torch.randint(n, (times, n), generator=torch.Generator().manual_seed(0))


def unmeasured(name: str, group: str, reason: str, better: str | None = None) -> dict:
    return {"name": name, "group": group, "before": None, "after": None, "n": 0, "ci95": None, "better": better, "reason": reason}


def selectivity(exam, before: Tensor, after: Tensor) -> dict:
    """How many times more the concept's pictures changed than unrelated ones: a ratio of median pixel changes; 1 is no aim at all."""
    name = "selectivity, pixel change of target / unrelated"
    change = pixel_change(before, after)
    hit, rest = (change[torch.tensor([q.group == group for q in exam.questions])] for group in ("target", "unrelated"))
    if not len(hit) or not len(rest):
        return unmeasured(name, "structure", "it needs both target and unrelated prompts", "higher")
    if not (rest.median() > 0):
        return unmeasured(name, "structure", "unrelated pictures did not change at all", "higher")
    ratios = hit[resample(len(hit))].median(1).values / rest[resample(len(rest))].median(1).values.clamp(min=1e-6)
    low, high = ratios.quantile(torch.tensor([0.025, 0.975])).tolist()
    return {"name": name, "group": "structure", "before": None, "after": round((hit.median() / rest.median()).item(), 2), "n": len(hit) + len(rest), "ci95": [round(low, 2), round(high, 2)], "better": "higher"}  # fmt: skip


def whole(exam, before: Tensor, after: Tensor, features: Features | None, make) -> list[dict]:
    """Are the erased pictures as whole as the alternative's own? Kernel distance of both to the alternative's pictures of other seeds."""
    name = "kernel distance to the alternative's own pictures"
    of = [i for i, q in enumerate(exam.questions) if q.group == "target" and q.instead]
    if features is None:
        return [unmeasured(name, "target", "no feature network: pip install unconcept[evaluate]", "lower")]
    if len(of) < 16:
        return [unmeasured(name, "target", f"{len(of)} prompts have an alternative; it takes 16", "lower")]
    name = f"KID {features.name} to the alternative's own pictures"
    own = [
        make("the alternative's own pictures", [exam.questions[i].instead for i in of], [first + i for i in of])
        for first in (700_000, 800_000)
    ]
    reference, again = (features(p) for p in own)
    measured, floor, was = kid(reference, features(after[of])), kid(reference, again), kid(reference, features(before[of]))
    row = {"name": name, "group": "target", "before": was["value"], "after": measured["value"], "n": measured["n"], "ci95": measured["ci95"], "better": "lower"}  # fmt: skip
    control = {**row, "name": f"control: KID {features.name}, the alternative against itself", "group": "structure", "before": None, "after": floor["value"], "ci95": floor["ci95"], "better": None}  # fmt: skip
    return [row, control]


def fingerprint(edit: Edit) -> str:
    """sha256 of an edit's numbers."""
    digest = hashlib.sha256()
    for name, delta in sorted(edit.deltas.items()):
        digest.update(name.encode())
        digest.update(delta.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def read_prompts(path: Path) -> list[Ask]:
    """The user's own prompts: a CSV file with the column prompt, and if wanted seed and group (target where it is not said)."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    if not rows or "prompt" not in rows[0]:
        raise InputError(f"{path} needs a first line with the column names prompt, seed, group")
    asks = []
    for line, row in enumerate(rows, 2):
        group, seed = row.get("group") or "target", row.get("seed") or row.get("evaluation_seed")
        if group not in GROUPS:
            raise InputError(f'line {line} of {path}: the group "{group}" is none of {", ".join(GROUPS)}')
        try:
            asks.append(Ask(row["prompt"], group, "", way="own", seed=int(float(seed)) if seed else None))
        except ValueError as error:
            raise InputError(f'line {line} of {path}: the seed "{seed}" is no number') from error
    return asks


def find(rows: Sequence[dict], name: str, group: str) -> dict | None:
    return next((row for row in rows if (row["name"], row["group"]) == (name, group) and row["after"] is not None), None)


def verdict(rows: Sequence[dict], before: Tensor, after: Tensor) -> str | None:
    """What went wrong, in one line, or None.

    collapse          pictures are no numbers, blank or all alike, or unrelated objects are right half as often
    no-op             the concept is still there
    over-erasure      unrelated pictures changed more than the concept's own
    alternative       the concept is gone, and what should come instead is hardly ever there
    """
    if not len(after):
        return None
    value = lambda name, group: row["after"] if (row := find(rows, name, group)) else math.nan
    rest, instead = find(rows, "right", "unrelated"), find(rows, "alternative", "target")
    if not after.isfinite().all():
        return "collapse: pictures hold values that are no numbers"
    spread = lambda p: (p.std((2, 3)).mean(1).median(), p.std(0).mean())
    if any(a < 0.25 * b for a, b in zip(spread(after), spread(before))):
        return "collapse: the pictures are nearly blank or all alike"
    if rest and rest["after"] < 0.5 * rest["before"]:
        return f"collapse: unrelated objects are right in {rest['after']:.0%} of their pictures (before: {rest['before']:.0%})"
    concept, change, other_seed = (
        find(rows, "concept", "target"),
        value(PIXELS, "target"),
        value(f"control, another seed: {PIXELS}", "structure"),
    )
    if concept and concept["before"] > 0 and concept["after"] > 0.5 * concept["before"]:
        return f"no-op: the concept is still in {concept['after']:.0%} of its pictures (before: {concept['before']:.0%})"
    if not concept and change < 0.1 * other_seed:
        return "no-op: the pictures of the concept are nearly the same as before"
    if value(PIXELS, "unrelated") > change:
        return "over-erasure: unrelated pictures changed more than those of the concept"
    if instead and instead["after"] < 0.25:
        return f"alternative ignored: it is seen in {instead['after']:.0%} of the concept's pictures"
    return None
