"""What `erase` leaves behind for people.

The image grid, report.json (schema 1), the same as a page, in Markdown and as a figure, and the
model card.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from ..evaluation.clip_benchmark import SHARE_OF_FRAMES
from ..evaluation.runner import Evaluation
from ..evaluation.scores import BETTER, PIXELS
from ..evaluation.strength_curve import StrengthCurve
from ..export.model_card import card
from ..io.text import in_markdown
from ..io.units import format_bytes, format_duration
from .html import ReportPage, page
from .image_grid import before_after_grid
from .score_plot import draw
from .verdict import (
    ANOTHER_SEED,
    GROUP_TITLES,
    concept_names,
    judge_verdict,
    samples_of,
    score_row,
    subject,
    title,
)

STRENGTH_HEADER = ("strength", "images that show the concept", "the alternative")

ARROWS = {"higher": "↑", "lower": "↓", None: ""}

LEGEND = """The arrow says which way is better. Shares are shares of {samples}, with Wilson
intervals; their change is paired, with a 95 % interval of its own (Newcombe). Changes are medians
over {samples} that have the same seed before and after, with bootstrap intervals."""

CLIP_LEGEND = """ A clip shows the concept if any of its frames does, and everything else if most of
them do. Intervals are over clips, since the frames of a clip are not independent. Frames in which
an object is too small for the judge do not count."""


def share(value: float) -> str:
    """A share as a percentage: 0.25 -> 25.0 %.

    Args:
        value: In [0, 1].
    """
    return f"{100 * value:.1f} %"


def format_value(value: float | None, name: str) -> str:
    """A score in words: shares in percent, everything else as the number it is.

    Args:
        value: The score; None if it was not measured.
        name: Its name, which says what it is.

    Returns:
        The number with its unit, or a dash. Kernel distances, which are small, get four decimals.
    """
    if value is None:
        return "–"
    if name.split(":")[0] in BETTER or name.endswith(SHARE_OF_FRAMES):
        return share(value)
    return f"{value:.4f}" if "KID" in name else f"{value:.3f}"


def table(rows: Sequence[dict]) -> list[dict]:
    """The scores of report.json in words.

    Args:
        rows: Scores as report.json has them.

    Returns:
        For each row its group's title, name, before (b), after (a), interval (low, high, ci),
        change in points (d), n, and the arrow of the better direction.
    """
    lines = []
    for row in rows:
        low, high = row["ci95"] or (None, None)
        line = {
            "title": GROUP_TITLES[row["group"]],
            "name": row["name"],
            "b": format_value(row["before"], row["name"]),
            "a": format_value(row["after"], row["name"]),
            "low": format_value(low, row["name"]),
            "high": format_value(high, row["name"]),
            "ci": "–",
            "d": "",
            "n": row["n"],
            "arrow": ARROWS[row["better"]],
        }
        if row["after"] is None:
            line["name"] += f" (not measured: {row['reason']})"
        if row["ci95"]:
            line["ci"] = f"{line['low']} – {line['high']}"
        if difference := row.get("difference"):
            line["d"] = format_points(difference)
        lines.append(line)
    return lines


def format_points(difference: Mapping[str, Any]) -> str:
    """A difference of shares in points, with its interval: "-95.0 [-99.1, -70.4]".

    Args:
        difference: `difference` of a score in report.json: `value` and `ci95`, in [-1, 1].
    """
    low, high = (100 * end for end in difference["ci95"])
    return f"{100 * difference['value']:+.1f} [{low:+.1f}, {high:+.1f}]"


def verdict_sentence(report: Mapping[str, Any]) -> str:
    """What came of a run, with its numbers, in one sentence.

    Args:
        report: The content of report.json.

    Returns:
        The failure if there is one; else what is gone, what comes instead, and what the rest did.
    """
    if report["failure"]:
        return f"It did not work: {report['failure']}."
    parts = []
    samples = samples_of(report)
    if gone := score_row(report, "concept", "target"):
        parts.append(
            f"The judge sees {concept_names(report)} in {share(gone['after'])} of {gone['n']} "
            f"{samples} that are prompted for it (before: {share(gone['before'])})"
        )
        if instead := score_row(report, "alternative", "target"):
            parts.append(f"the alternative in {share(instead['after'])}")
    if rest := score_row(report, "right", "unrelated"):
        parts.append(
            f"unrelated {samples} are right in {share(rest['after'])} "
            f"(before: {share(rest['before'])})"
        )
    target = score_row(report, PIXELS, "target")
    unrelated = score_row(report, PIXELS, "unrelated")
    seed = score_row(report, ANOTHER_SEED + PIXELS, "structure")
    if target and unrelated and seed:
        parts.append(
            f"the pixels of unrelated {samples} moved by {unrelated['after']:.3f}, those of the "
            f"concept by {target['after']:.3f} (another seed: {seed['after']:.3f})"
        )
    if not parts:
        return f"No {samples} were sampled: nothing is measured."
    return "; ".join(parts) + "."


def describe_judge(report: Mapping[str, Any]) -> str:
    """Who recognized what the images show, and how often that is right.

    Args:
        report: The content of report.json. Of the embedded models' judge it has accuracies, of
            another judge its name, without a judge nothing.

    Returns:
        A sentence.
    """
    known = report["settings"]["judge"]
    if not known:
        return "No judge: presence is not scored."
    if "name" in known:
        return f"The judge is {known['name']}."
    accuracies = ", ".join(
        f"{share(value)} ({what}, n = {n})" for what, (value, n) in known.items()
    )
    return (
        "The judge is a network of its own, trained on images and never on a model's samples; "
        f"its held-out accuracy is {accuracies}."
    )


def legend(report: Mapping[str, Any]) -> str:
    """How to read the scores.

    Args:
        report: The content of report.json, or of compare.json.
    """
    samples = samples_of(report)
    return LEGEND.format(samples=samples) + (CLIP_LEGEND if samples == "clips" else "")


def run_facts(report: Mapping[str, Any]) -> list[tuple[str, object]]:
    """Cost, settings, versions and hashes, for the end of the page.

    Args:
        report: The content of report.json.

    Returns:
        (name, value) for each.
    """
    cost = report["cost"]
    facts: list[tuple[str, object]] = []
    if cost["network_calls"] is not None:
        one = samples_of(report).removesuffix("s")
        calls = f"{cost['network_calls']:,} (one {one} forward through the denoiser)"
        facts.append(("network calls", calls))
        facts.append(("time of erasing", format_duration(cost["training_seconds"])))
    facts += [
        ("time in all", format_duration(cost["seconds"])),
        ("peak memory", format_bytes(cost["peak_memory_bytes"])),
        ("changed parameters", f"{cost['tuned_parameters']:,}"),
        ("size of the edit", format_bytes(cost["edit_bytes"])),
    ]
    facts += flatten(report["method"]["settings"])
    for name, value in flatten(report["settings"]):
        if not name.startswith("judge"):
            facts.append((name.replace("_", " "), value))
    facts += report["versions"].items()
    facts += [(f"model {name}", value) for name, value in flatten(report["model"])]
    return facts


def flatten(settings: Mapping[str, Any], prefix: str = "") -> list[tuple[str, object]]:
    """Nested settings as lines.

    Args:
        settings: Keys and values, some of which are mappings.
        prefix: Put before every key.

    Returns:
        (key, value): ("tune.lr", 0.001), ...
    """
    lines: list[tuple[str, object]] = []
    for key, value in settings.items():
        if isinstance(value, Mapping):
            lines += flatten(value, f"{prefix}{key}.")
        else:
            lines.append((prefix + key, "none" if value is None else value))
    return lines


def markdown(header: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    """A table in Markdown.

    Args:
        header: Titles of the columns.
        lines: The cells of every line.

    Returns:
        The table, with a line break at its end.
    """
    text = ""
    for row in (header, *lines):
        text += f"| {' | '.join(in_markdown(cell) for cell in row)} |\n"
        if row is header:
            text += f"| {' | '.join(['---'] * len(header))} |\n"
    return text


def strength_lines(report: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The concept at several strengths of the edit, in words.

    Args:
        report: The content of report.json.

    Returns:
        A line of `STRENGTH_HEADER` for each strength; none where no judge decides.
    """
    lines = []
    for row in report.get("strengths", ()):
        cells = []
        for name in ("concept", "alternative"):
            measured = row[name]
            text = "–"
            if measured:
                text = f"{round(measured['value'] * measured['n'])} of {measured['n']}"
            cells.append(text)
        lines.append((f"{row['strength']:g}", *cells))
    return lines if any(line[1] != "–" for line in lines) else []


def to_markdown(report: Mapping[str, Any], images: Sequence[str]) -> str:
    """The report in Markdown.

    Args:
        report: The content of report.json.
        images: Names of the image files beside it.

    Returns:
        The text of report.md.
    """
    verdict = in_markdown(judge_verdict(report).text)
    parts = [f"# {in_markdown(title(report))}", f"**{verdict}** ({in_markdown(subject(report))})"]
    parts.append(in_markdown(verdict_sentence(report)))
    parts += [f"> {in_markdown(line)}" for line in report["warnings"]]
    parts += [f"![{name.removesuffix('.png')}]({name})" for name in images]
    for heading, rows in groupby(table(report["scores"]), key=lambda row: row["title"]):
        lines = []
        for row in rows:
            change = row["a"] if row["b"] == "–" else f"{row['b']} → {row['a']}"
            name = f"{row['name']} {row['arrow']}".strip()
            lines.append((name, change, row["ci"], row["d"], row["n"]))
        header = ("measure", "before → after", "95 % interval", "change, in points", "n")
        parts += [f"## Scores: {heading}", markdown(header, lines)]
    parts += [f"{in_markdown(describe_judge(report))} {legend(report)}"]
    if lines := strength_lines(report):
        parts += ["## Strength of the edit", markdown(STRENGTH_HEADER, lines)]
    parts.append("## Cost and settings")
    parts.append(markdown(("", ""), run_facts(report)))
    return "\n\n".join(part.strip() for part in parts) + "\n"


def write(
    folder: Path,
    report: dict,
    cases: Sequence,
    evaluation: Evaluation,
    curve: StrengthCurve | None = None,
) -> None:
    """Write a report with its images.

    The files are report.json, report.html, report.md and README.md; before-after.png where there
    are images; scores.png where there are shares, and matplotlib is installed.

    Args:
        folder: Where to write.
        report: The content of report.json.
        cases: N prompts with their groups.
        evaluation: N images or clips of the untouched model, and of the erased one from the same
            seeds.
        curve: The concept at several strengths of the edit, where it was measured.
    """
    (folder / "report.json").write_text(json.dumps(report, indent=1, allow_nan=False) + "\n")
    order = list(GROUP_TITLES)
    scores = sorted(report["scores"], key=lambda row: order.index(row["group"]))
    report = {**report, "scores": scores}
    content = ReportPage(
        report=report,
        rows=table(scores),
        judge=describe_judge(report),
        legend=legend(report),
        facts=run_facts(report),
        curve=(STRENGTH_HEADER, strength_lines(report)),
    )
    text = page(content, cases, evaluation, curve)
    (folder / "report.html").write_text(text, encoding="utf-8")
    readme = card(report, title(report), verdict_sentence(report))
    (folder / "README.md").write_text(readme, encoding="utf-8")
    images = []
    if cases:
        head = f"{judge_verdict(report).text}: {subject(report)}".replace("→", "->")
        sheet = before_after_grid(cases, evaluation.before, evaluation.after, head)
        sheet.save(folder / "before-after.png")
        images.append("before-after.png")
    if draw(scores, str(folder / "scores.png"), title(report), samples_of(report)):
        images.append("scores.png")
    (folder / "report.md").write_text(to_markdown(report, images), encoding="utf-8")
