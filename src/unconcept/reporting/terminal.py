"""The end of a run in the terminal: a verdict and at most twenty lines of 80 columns, or all."""

import shlex
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.table import Table

from ..config.options import EMBEDDED
from ..evaluation.clip_benchmark import FLICKER, SHARE_OF_FRAMES, SWITCHES
from ..evaluation.scores import PIXELS
from ..io.text import one_line, plain_console, visible
from ..io.units import format_bytes, format_duration
from . import eraseeval_report
from .attack_report import cell, name_of, title_of
from .report import format_value, table
from .verdict import (
    ANOTHER_SEED,
    alternative_names,
    concept_names,
    image_pairs,
    judge_verdict,
    samples_of,
    score_row,
    subject,
)

LINES, COLUMNS = 20, 80

LABEL, BAR = 18, 44  # columns of a row's label, and of the longest bar

COLOURS = {"good": "bold green", "doubtful": "bold yellow", "bad": "bold red", "unknown": "bold"}

# What can be done about a failure, by its name; docs/guides/troubleshooting.md has more.
REMEDIES = {
    "no-op": "--synonym for other names, another alternative, another --method",
    "collapse": "fewer steps or a lower learning rate, another --method",
    "over-erasure": "--keep for what suffers, another --method",
    "broken images": "another alternative, one that the model draws well",
    "alternative ignored": "another alternative, one that the model draws well",
}

MOST_CLIP_ROWS = 4  # there is no room for more

# Rows of clips that are prompted for the concept, the most important first.
CLIP_ROWS = {
    f"concept{SHARE_OF_FRAMES}": "frames that show it",
    "late return": "it returns late (last third, not first)",
    "motion": "the prompted motion",
    "object": "the prompted object",
    "background": "the prompted background",
    SWITCHES: SWITCHES,
    FLICKER: FLICKER,
}

MOVED = {"target": "", "neighbour": "near neighbours", "unrelated": "anything else"}


def print_report(report: Mapping[str, Any], out: Path, *, full: bool = False) -> None:
    """Print the end of a run.

    Args:
        report: The content of report.json.
        out: The folder that holds it.
        full: Every score and every note, after the summary.
    """
    console = plain_console()
    verdict = judge_verdict(report)
    headline, *rest = summary_lines(report, out, notes=not full)
    console.print(headline, style=COLOURS[verdict.outcome], soft_wrap=True)
    for line in rest:
        console.print(line, soft_wrap=True)
    if not full:
        return
    console.print()
    console.print(score_table(report))
    for warning in report["warnings"]:
        console.print(f"note: {one_line(warning)}", style="yellow", soft_wrap=True)


def print_attacks(report: Mapping[str, Any], out: Path) -> None:
    """Print the end of a run of attacks: a line for each row, and what they say.

    Args:
        report: The content of report.json.
        out: The folder that holds it.
    """
    console = plain_console()
    console.print(title_of(report), style="bold", soft_wrap=True)
    for row in report["attacks"]:
        shown = row["shown"]
        text = f"not measured: {row['reason']}"
        if not row["reason"]:
            text = f"shown {cell(shown.get('erased'))}, untouched {cell(shown.get('untouched'))}"
            for kind in ("floor", "chance"):
                if kind in shown:
                    text += f", {kind} {cell(shown[kind])}"
        console.print(visible(f"{name_of(row):<30} {text}"), soft_wrap=True)
    for line in report["statements"]:
        console.print(line, soft_wrap=True)
    for line in report["warnings"]:
        console.print(f"note: {one_line(line)}", style="yellow", soft_wrap=True)
    console.print(visible(out / "report.html"), soft_wrap=True)


def print_eraseeval(report: Mapping[str, Any], out: Path) -> None:
    """Print the end of a run of EraseEval.

    Args:
        report: The content of report.json.
        out: The folder that holds it.
    """
    console = plain_console()
    console.print(eraseeval_report.title_of(report), style="bold", soft_wrap=True)
    header, lines = eraseeval_report.eraseeval_table(report)
    result = Table(*header, box=None, pad_edge=False)
    for line in lines:
        result.add_row(*line)
    console.print(result)
    for line in eraseeval_report.notes_of(report):
        console.print(f"note: {one_line(line)}", style="yellow", soft_wrap=True)
    console.print(visible(out / "report.md"), soft_wrap=True)


def summary_lines(report: Mapping[str, Any], out: Path, *, notes: bool = True) -> list[str]:
    """The twenty lines that matter.

    Args:
        report: The content of report.json.
        out: The folder that holds it.
        notes: The warnings too, each cut to one line.

    Returns:
        At most 20 lines of at most 80 columns, the headline first; a verdict that is longer than
        a line is wrapped.
    """
    verdict, about = one_line(judge_verdict(report).text), one_line(subject(report))
    if verdict == "Erased":
        lines = textwrap.wrap(f"Erased: {about}", COLUMNS)
    else:
        lines = textwrap.wrap(verdict, COLUMNS) + textwrap.wrap(about, COLUMNS)
    clips = samples_of(report) == "clips" and score_row(report, "concept", "target")
    bodies = [presence_lines(report), clip_lines(report) if clips else change_lines(report)]
    closing = closing_lines(report, out)
    for body in bodies:
        if body:
            lines += ["", *body]
    lines.append("")
    if notes:
        lines += note_lines(report["warnings"], max(1, LINES - len(lines) - len(closing)))
    lines += closing
    while len(lines) > LINES and "" in lines:
        lines.reverse()
        lines.remove("")  # the last one
        lines.reverse()
    return lines


def presence_lines(report: Mapping[str, Any]) -> list[str]:
    """The table of what the judge sees, before and after.

    Args:
        report: The content of report.json.

    Returns:
        A head and a line per group of prompts that was judged; [] without a judge.
    """
    several = len(report["concept"]) > 1
    seen = "concepts seen" if several else f"{concept_names(report)} seen"
    instead = "alternative seen" if several else f"{alternative_names(report)} seen"
    label = "the concepts" if several else concept_names(report)
    measures = [
        (label, "concept", "target", seen),
        ("", "alternative", "target", instead),
        ("its synonyms", "concept", "synonym", seen),
        ("implied", "concept", "implied", seen),
        ("near neighbours", "right", "neighbour", "right"),
        ("anything else", "right", "unrelated", "right"),
    ]
    lines = []
    for label, name, group, what in measures:
        if row := score_row(report, name, group):
            low, high = (round(100 * end) for end in row["ci95"])
            before, after = (share_of(row, key) for key in ("before", "after"))
            cells = f"{shorten(label, LABEL):<{LABEL}} {shorten(what, 20):<20}"
            lines.append(f"{cells} {before:>12} {after:>12} {f'{low}–{high} %':>12}")
    if not lines:
        return []
    head = f"{'prompted for':<{LABEL}} {'':<20} {'before':>12} {'after':>12} {'95 %':>12}"
    return [head, *lines]


def clip_lines(report: Mapping[str, Any]) -> list[str]:
    """What is measured of clips alone, before and after.

    Args:
        report: The content of report.json.

    Returns:
        The shares of frames, late returns, and what the clips kept: a line for each of the first
        measures that there are.
    """
    lines = []
    for name, title in CLIP_ROWS.items():
        row = score_row(report, name, "target")
        if row and row["before"] is not None:
            before, after = (format_value(row[key], name) for key in ("before", "after"))
            low, high = (format_value(value, name) for value in row["ci95"])
            interval = f"{low.removesuffix(' %')}–{high}"
            lines.append(f"{title:<39} {before:>12} {after:>12} {interval:>12}")
    return ["the same clips", *lines[:MOST_CLIP_ROWS]] if lines else []


def share_of(row: Mapping[str, Any], key: str) -> str:
    """A share in images: "3 of 20".

    Args:
        row: A row of report.json whose scores are shares in [0, 1].
        key: "before" or "after".

    Returns:
        The number of images and n.
    """
    return f"{round(row[key] * row['n'])} of {row['n']}"


def change_lines(report: Mapping[str, Any]) -> list[str]:
    """The bars of how far images moved that have the same seed.

    Args:
        report: The content of report.json.

    Returns:
        A head and a bar per group of prompts, on the scale of the longest; [] where no images were
        sampled.
    """
    values = {}
    for group, label in MOVED.items():
        if row := score_row(report, PIXELS, group):
            values[label or concept_names(report)] = row["after"]
    if not values:
        return []
    seed = score_row(report, ANOTHER_SEED + PIXELS, "structure")
    ruler = f" (another seed: {seed['after']:.3f})" if seed else ""
    lines = [f"same seed, how far {samples_of(report)} moved{ruler}"]
    largest = max(values.values()) or 1.0
    for label, value in values.items():
        bar = "█" * max(1 if value else 0, round(BAR * value / largest))
        lines.append(f"  {shorten(label, LABEL - 2):<{LABEL - 2}} {bar:<{BAR}} {value:.3f}")
    return lines


def note_lines(warnings: list[str], room: int) -> list[str]:
    """The warnings, as many as there is room for: whole if they fit, else cut to one line.

    Args:
        warnings: Texts of any length.
        room: Number of lines there is room for.

    Returns:
        Lines of at most COLUMNS columns; the last one counts the warnings that are not shown.
    """
    shown = warnings if len(warnings) <= room else warnings[: max(room - 1, 0)]
    spare = room - len(shown)  # lines that longer notes may take
    lines = []
    for warning in shown:
        note = f"note: {one_line(warning)}"
        whole = textwrap.wrap(
            note, COLUMNS, subsequent_indent=" " * 6, break_long_words=False, break_on_hyphens=False
        )
        fits = len(whole) - 1 <= spare and max(map(len, whole)) <= COLUMNS
        lines += whole if fits else [shorten(note, COLUMNS)]
        spare -= len(whole) - 1 if fits else 0
    if hidden := len(warnings) - len(shown):
        lines.append(f"{hidden} more {'note' if hidden == 1 else 'notes'}: --full, or report.html")
    return lines


def closing_lines(report: Mapping[str, Any], out: Path) -> list[str]:
    """What the run cost, where everything is, and what to do next.

    Args:
        report: The content of report.json.
        out: The output folder.

    Returns:
        Lines without markup.
    """
    cost = report["cost"]
    erased = cost["training_seconds"] is not None
    facts = []
    if erased:
        facts.append(f"{format_duration(cost['training_seconds'])} of erasing")
    facts.append(f"{format_duration(cost['seconds'])} in all")
    facts.append(f"{format_bytes(cost['peak_memory_bytes'])} of memory")
    facts.append(f"an edit of {format_bytes(cost['edit_bytes'])}")
    names = ["report.html"]
    if report["scores"]:
        names.insert(0, "before-after.png")
    if erased:
        names.append("edit.safetensors")
    lines = [", ".join(facts), "", f"{visible(out)}/{' | '.join(names)}"]
    if report["failure"]:
        kind = report["failure"].partition(":")[0]
        lines.append(f"what to try: {REMEDIES.get(kind, 'another --method')}")
    elif erased:
        prompt = shlex.quote(one_line(report["concept"][0]["erase"]))
        lines.append(f"try it: {command_line(f'generate {prompt}', report, out, ' --compare')}")
    if report["settings"].get("evaluation") == "short":
        count = f"this was a short evaluation, of {image_pairs(report)} {samples_of(report)}"
        if erased and not report["failure"]:
            count = f"more {samples_of(report)} than {image_pairs(report)}"
            lines.append(f"{count}: {command_line('evaluate', report, out)}")
        else:
            lines.append(count)
    return lines


def command_line(command: str, report: Mapping[str, Any], out: Path, switches: str = "") -> str:
    """A command that uses the edit of a run, with the run's model.

    Args:
        command: Its name, and what comes before the options.
        report: The content of report.json.
        out: The folder that holds the edit.
        switches: What comes behind `--edit`.

    Returns:
        The command as it can be copied.
    """
    edit = shlex.quote(str(visible(out)))
    model = report["model"]["name"]
    base = "" if model in EMBEDDED else f" --model {shlex.quote(one_line(model))}"
    return f"unconcept {command} --edit {edit}{base}{switches}"


def score_table(report: Mapping[str, Any]) -> Table:
    """Every score, as wide as the terminal.

    Args:
        report: The content of report.json.
    """
    view = Table("group", "measure", box=None, pad_edge=False)
    for name in ("before", "after", "95 % interval", "n"):
        view.add_column(name, justify="right")
    group = None
    for line in table(report["scores"]):
        heading = line["title"] if line["title"] != group else ""
        interval = f"{line['low']} – {line['high']}"
        view.add_row(
            heading, one_line(line["name"]), line["b"], line["a"], interval, str(line["n"])
        )
        group = line["title"]
    return view


def shorten(text: str, width: int) -> str:
    """The text with nothing in it that acts, cut to `width` columns with an ellipsis.

    Args:
        text: One line.
        width: Largest length in characters, at least 1.

    Returns:
        The text itself if it fits.
    """
    text = one_line(text)
    return text if len(text) <= width else text[: width - 1] + "…"
