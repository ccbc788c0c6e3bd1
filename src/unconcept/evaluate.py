"""Make the pictures once, run every measure over them.

Before and after are sampled from the same seeds, so each difference is the edit's own. A control shows how much the pictures of the
untouched model differ when only the seed does.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .concept import Concept, article
from .metrics import pixel_change, proportion, ssim, structure_change
from .models.base import Model
from .train import Progress

GROUPS = ("target", "synonym", "neighbour", "unrelated")
BETTER = {
    "concept": "lower",
    "alternative": "higher",
    "right": "higher",
    "other": "higher",
    "style": "higher",
    "background": "higher",
}


@dataclass(frozen=True)
class Ask:
    """A prompt of one group about one word, for models whose answers nobody knows beforehand."""

    prompt: str
    group: str
    name: str


class Plain:
    """The questions for a model without a judge: pictures and their changes can be shown, presence cannot be scored."""

    def __init__(self, concepts: Sequence[Concept], vocabulary: Sequence[str], n: dict[str, int]):
        pairs = [(c, *pair) for c in concepts for pair in c.pairs()]
        names = {name for c in concepts for name in (c.erase, *c.synonyms)}
        rest = [w for w in dict.fromkeys([*(w for c in concepts for w in c.keep), *vocabulary]) if w not in names]
        self.questions = [Ask(pairs[i % len(pairs)][1], "target", pairs[i % len(pairs)][0].erase) for i in range(n.get("target", 0))]
        self.questions += [Ask(article(rest[i % len(rest)]), "unrelated", rest[i % len(rest)]) for i in range(n.get("unrelated", 0))]

    def marks(self, pictures: Tensor) -> dict[str, Tensor]:
        return {}


def pictures(
    model: Model, prompts: Sequence[str], seeds: Sequence[int], *, steps: int = 25, guidance: float = 5.0, batch: int = 32,
    report: Callable[[Progress], None] = lambda progress: None, stage: str = "sampling",
) -> Tensor:  # fmt: skip
    """Pictures [N, 3, H, W] in [0, 1], one per (prompt, seed)."""
    done = []
    for i in range(0, len(prompts), batch):
        report(Progress(stage, i, len(prompts)))
        done.append(model.decode(model.sample(prompts[i : i + batch], seeds[i : i + batch], steps=steps, guidance=guidance)))
    report(Progress(stage, len(prompts), len(prompts)))
    return torch.cat(done)


def scores(exam, before: Tensor, after: Tensor, another_seed: Tensor | None = None) -> list[dict]:
    """Rows {name, group, before, after, n, ci95, better} (report.json, schema 1). ci95 belongs to `after`; better is null for a control.

    another_seed: pictures of the untouched model for the first questions from other seeds, the control of the changes.
    """
    marks, rows = (exam.marks(before), exam.marks(after)), []

    def share(name: str, group: str, of: Tensor, word: str = "") -> None:
        first, then = (proportion(m[name][of]) for m in marks)
        if first and then:
            rows.append({"name": f"{name}: {word}" if word else name, "group": group, "before": first["value"], "after": then["value"], "n": then["n"], "ci95": then["ci95"], "better": BETTER[name]})  # fmt: skip

    for group in GROUPS:
        of = torch.tensor([q.group == group for q in exam.questions])
        if not of.any():
            continue
        for name in marks[0]:
            if name == "right" and group in ("target", "synonym"):
                continue  # there the right answer is the one that is erased: `concept` says it
            share(name, group, of)
        if group == "neighbour" and "right" in marks[0]:
            for word in dict.fromkeys(q.name for q in exam.questions if q.group == group):
                share("right", group, torch.tensor([q.group == group and q.name == word for q in exam.questions]), word)
        for name, change in (("pixel change", pixel_change), ("structure change", structure_change), ("ssim", ssim)):
            rows.append(change_row(name, group, change(before[of], after[of]), "higher" if name == "ssim" else "lower"))
    if another_seed is not None:
        n = len(another_seed)
        for name, change in (("pixel change", pixel_change), ("structure change", structure_change), ("ssim", ssim)):
            rows.append(change_row(f"control: {name}, another seed, no edit", "structure", change(before[:n], another_seed), None))
    return rows


def change_row(name: str, group: str, values: Tensor, better: str | None) -> dict:
    """Median of a change over pairs of pictures, with a bootstrap interval."""
    n, generator = len(values), torch.Generator().manual_seed(0)
    medians = values[torch.randint(n, (2000, n), generator=generator)].median(1).values
    low, high = medians.quantile(torch.tensor([0.025, 0.975])).tolist()
    return {"name": name, "group": group, "before": None, "after": round(values.median().item(), 4), "n": n, "ci95": [round(low, 4), round(high, 4)], "better": better}  # fmt: skip


def find(rows: Sequence[dict], name: str, group: str) -> dict | None:
    return next((row for row in rows if (row["name"], row["group"]) == (name, group)), None)


def verdict(rows: Sequence[dict], before: Tensor, after: Tensor) -> str | None:
    """What went wrong in one line, or None. A no-op: the concept is still there. A collapse: what was right is no longer, or pictures are blank."""
    concept, rest = find(rows, "concept", "target"), find(rows, "right", "unrelated")
    change, control = (
        find(rows, "pixel change", "target"),
        find(rows, "control: pixel change, another seed, no edit", "structure"),
    )
    if concept and concept["before"] > 0 and concept["after"] > 0.5 * concept["before"]:
        return f"no-op: the concept is still in {concept['after']:.0%} of its pictures (before: {concept['before']:.0%})"
    if not concept and change and control and change["after"] < 0.1 * control["after"]:
        return "no-op: the pictures of the concept are nearly the same as before"
    if rest and rest["after"] < 0.5 * rest["before"]:
        return f"collapse: unrelated objects are right in {rest['after']:.0%} of their pictures (before: {rest['before']:.0%})"
    if after.std((1, 2, 3)).median() < 0.25 * before.std((1, 2, 3)).median():
        return "collapse: the pictures are nearly blank"
    return None
