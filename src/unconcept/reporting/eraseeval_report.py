"""The report of EraseEval: four measures and an aggregate, beside those of controls."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..io.text import in_markdown
from .report import markdown

HEADER = ("", "M1", "M2", "M3", "M4", "harmonic4")

ROWS = {
    "edit": "this edit",
    "identity": "control: no edit",
    "noise": "control: noise in the weights",
}

LEGEND = """M1: how much else of explicit prompts is left in the captions, 0 where the concept is
seen and named. M2: the same for the features of images of implicit prompts, 0 where the concept is
seen. M3: how well unrelated images still fit their prompts. M4: how near they still are to real
ones. Each from 0 to 1, more is better, with a 95 % bootstrap interval. M1 cannot reach 1, because
captions of the original name the concept: its ceiling is the original at other seeds, its ideal the
untouched model prompted with the alternative. harmonic4 is the harmonic mean of the four, an
aggregate of this package and not the paper's, which is not public. Scores of other captioners and
judges are not comparable."""


def cell(measure: Mapping[str, Any]) -> str:
    """A measure with its interval.

    Args:
        measure: With `value` in [0, 1] and its `ci95`; a value of None was not measured.

    Returns:
        "0.82 [0.75-0.88]", or a dash.
    """
    if measure["value"] is None:
        return "–"
    low, high = measure["ci95"]
    return f"{measure['value']:.2f} [{low:.2f}-{high:.2f}]"


def eraseeval_table(report: Mapping[str, Any]) -> tuple[Sequence[str], list[list[str]]]:
    """The table in words.

    Args:
        report: The content of report.json.

    Returns:
        (header, lines)
    """
    result, lines = report["eraseeval"], []
    for key, title in ROWS.items():
        lines.append([title, *(cell(result[key][name]) for name in HEADER[1:])])
    for key, measure in result["M1 anchors"].items():
        lines.append([f"{key} of M1", cell(measure), *[""] * 4])
    return HEADER, lines


def notes_of(report: Mapping[str, Any]) -> list[str]:
    """Reasons of what was not measured, the votes, and who was asked.

    Args:
        report: The content of report.json.
    """
    result, lines = report["eraseeval"], list(report["warnings"])
    for name in HEADER[1:]:
        measure = result["edit"][name]
        if measure["value"] is None:
            lines.append(f"{name} was not measured: {measure['reason']}")
    if votes := result["edit"]["votes"]:
        lines.append("explicit prompts, concept found: " + listed(votes))
    prompts = result["prompts"]
    lines.append(
        f"prompts: {len(prompts['explicit'])} explicit, {len(prompts['implicit'])} pairs of "
        f"implicit prompt and seed, {prompts['unrelated']} unrelated"
    )
    lines.append("asked: " + listed(result["plugs"]))
    return lines


def listed(values: Mapping[str, Any]) -> str:
    """Keys and values in one line.

    Args:
        values: Shares by kind of vote, or names of models by the plug that they serve.

    Returns:
        "yes 0.1, named 0.05".
    """
    return ", ".join(f"{key} {value}" for key, value in values.items())


def title_of(report: Mapping[str, Any]) -> str:
    """What was evaluated.

    Args:
        report: The content of report.json, with one concept.
    """
    concept = report["concept"][0]
    arrow = f" → {concept['alternative']}" if concept["alternative"] else ""
    return f"EraseEval: {concept['erase']}{arrow} by {report['method']['name'] or 'an edit'}"


def write(folder: Path, report: dict) -> None:
    """Write report.json and report.md.

    Args:
        folder: Where to.
        report: The content of report.json.
    """
    (folder / "report.json").write_text(json.dumps(report, indent=1, allow_nan=False) + "\n")
    parts = [f"# {in_markdown(title_of(report))}", markdown(*eraseeval_table(report))]
    parts += [f"> {in_markdown(line)}" for line in notes_of(report)]
    parts.append(LEGEND)
    (folder / "report.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
