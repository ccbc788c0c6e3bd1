"""What `erase` leaves behind: the before/after sheet, report.json (schema 1), the same as a page, in Markdown and as a figure, and the model card."""

import json
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from torch import Tensor

from ..evaluation.scores import BETTER, PIXELS, find_score
from ..export.model_card import card
from .html import page
from .image_grid import GROUP_TITLES, before_after_grid
from .score_plot import draw

ARROWS = {"higher": "↑", "lower": "↓", None: ""}

LEGEND = """The arrow says which way is better. Shares are of pictures, with Wilson intervals; their change is that of pairs, with its own 95 % interval
(Newcombe). Changes are medians against the picture that the same seed gave before, with bootstrap intervals."""


def share(value: float) -> str:
    return f"{100 * value:.1f} %"


def format_value(value: float | None, name: str) -> str:
    """A score in words: shares in percent, everything else as the number it is; kernel distances are small."""
    if value is None:
        return "–"
    return share(value) if name.split(":")[0] in BETTER else f"{value:.{4 if 'KID' in name else 3}f}"


def table(rows: Sequence[dict]) -> list[dict]:
    """The rows of report.json in words."""
    words = []
    for row in rows:
        b, a, low, high = (format_value(value, row["name"]) for value in (row["before"], row["after"], *(row["ci95"] or (None, None))))
        apart = row.get("difference")
        d = f"{100 * apart['value']:+.1f} [{apart['ci95'][0] * 100:+.1f}, {apart['ci95'][1] * 100:+.1f}]" if apart else ""
        why = f" (not measured: {row['reason']})" if row["after"] is None else ""
        ci = f"{low} – {high}" if row["ci95"] else "–"
        words.append({"title": GROUP_TITLES[row["group"]], "name": row["name"] + why, "b": b, "a": a, "low": low, "high": high, "ci": ci, "d": d, "n": row["n"], "arrow": ARROWS[row["better"]]})  # fmt: skip
    return words


def title(report: dict) -> str:
    return "; ".join(c["erase"] + (f" → {c['alternative']}" if c["alternative"] else " erased") for c in report["concept"])


def verdict_sentence(report: dict) -> str:
    """What came of it, in one sentence: the failure if there is one, else what is gone, what is there instead, and what the rest did."""
    if report["failure"]:
        return f"It did not work: {report['failure']}."
    row = lambda name, group: find_score(report["scores"], name, group)
    parts = []
    if gone := row("concept", "target"):
        names = " and ".join(c["erase"] for c in report["concept"])
        parts.append(
            f"The judge sees {names} in {share(gone['after'])} of {gone['n']} pictures that ask for it (before: {share(gone['before'])})"
        )
        if instead := row("alternative", "target"):
            parts.append(f"the alternative in {share(instead['after'])}")
    if kept := row("right", "unrelated"):
        parts.append(f"unrelated pictures are right in {share(kept['after'])} (before: {share(kept['before'])})")
    target, rest, seed = (row(PIXELS, "target"), row(PIXELS, "unrelated"), row(f"control, another seed: {PIXELS}", "structure"))
    if target and rest and seed:
        moved = f"the pixels of unrelated pictures moved by {rest['after']:.3f}, those of the concept by {target['after']:.3f}"
        parts.append(f"{moved} (another seed: {seed['after']:.3f})")
    return "; ".join(parts) + "." if parts else "No pictures were made: nothing is measured."


def judge(report: dict) -> str:
    """Who said what the pictures show, and how often that is right."""
    known = report["settings"]["judge"]
    if not known:
        return "No judge: presence is not scored."
    if "name" in known:
        return f"The judge is {known['name']}."
    right = ", ".join(f"{share(value)} ({what}, n = {n})" for what, (value, n) in known.items())
    return f"The judge is a network of its own, trained on pictures only; on pictures that it never saw it is right in {right}."


def run_facts(report: dict) -> list[tuple[str, object]]:
    """Cost, settings, versions and hashes, as they stand at the end of the page."""
    cost, erasing = report["cost"], []
    if cost["network_calls"] is not None:
        erasing = [
            ("network calls", f"{cost['network_calls']:,} (one picture through the denoiser, forward)"),
            ("seconds of erasing", f"{cost['training_seconds']:.0f}"),
        ]
    return [
        *erasing,
        ("seconds", f"{cost['seconds']:.0f}"),
        ("peak memory", f"{cost['peak_memory_bytes'] / 2**30:.2f} GiB"),
        ("changed numbers", f"{cost['tuned_parameters']:,}, {cost['edit_bytes']:,} bytes"),
        *flatten(report["method"]["settings"]),
        *((k.replace("_", " "), v) for k, v in flatten(report["settings"]) if not k.startswith("judge")),
        *report["versions"].items(),
        *((f"model {k}", v) for k, v in flatten(report["model"])),
    ]


def flatten(settings: dict, inside: str = "") -> list[tuple[str, object]]:
    """Nested settings as lines: tune.lr, tune.steps, ..."""
    lines = []
    for key, value in settings.items():
        lines += flatten(value, f"{inside}{key}.") if isinstance(value, dict) else [(inside + key, "none" if value is None else value)]
    return lines


def markdown(header: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    """A table."""
    row = lambda cells: "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |\n"
    return "".join(map(row, (header, ["---"] * len(header), *lines)))


def to_markdown(report: dict, pictures: Sequence[str]) -> str:
    """The report in Markdown. pictures: the files beside it."""
    parts = [
        f"# {title(report)}",
        verdict_sentence(report),
        f"{report['method']['name']} on {report['model']['name']}, {report['cost']['seconds']:.0f} s",
        *(f"> {line}" for line in report["warnings"]),
        *(f"![{name.removesuffix('.png')}]({name})" for name in pictures),
    ]
    for heading, rows in groupby(table(report["scores"]), key=lambda row: row["title"]):
        lines = [
            (
                f"{row['name']} {row['arrow']}".strip(),
                row["a"] if row["b"] == "–" else f"{row['b']} → {row['a']}",
                row["ci"],
                row["d"],
                row["n"],
            )
            for row in rows
        ]
        parts += [f"## Scores: {heading}", markdown(("measure", "before → after", "95 % interval", "change, in points", "n"), lines)]
    parts += [f"{judge(report)} {LEGEND}", "## Cost and settings", markdown(("", ""), run_facts(report))]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def write(folder: Path, report: dict, questions: Sequence, before: Tensor, after: Tensor) -> None:
    """The report and its pictures in `folder`, of picture pairs [N, 3, H, W], one for each question.

    report.json, report.html, report.md, README.md; before-after.png where there are pairs, scores.png where there are shares and matplotlib.
    """
    (folder / "report.json").write_text(json.dumps(report, indent=1, allow_nan=False) + "\n")
    report = {**report, "scores": sorted(report["scores"], key=lambda row: list(GROUP_TITLES).index(row["group"]))}
    words: dict[str, Any] = dict(title=title(report), verdict=verdict_sentence(report))
    told: dict[str, Any] = dict(rows=table(report["scores"]), judge=judge(report), legend=LEGEND, facts=run_facts(report))
    (folder / "report.html").write_text(page(report, questions, before, after, **words, **told))
    (folder / "README.md").write_text(card(report, **words))
    if questions:
        before_after_grid(questions, before, after).save(folder / "before-after.png")
    drawn = draw(report["scores"], str(folder / "scores.png"), words["title"])
    pictures = [name for name, there in (("before-after.png", questions), ("scores.png", drawn)) if there]
    (folder / "report.md").write_text(to_markdown(report, pictures))
