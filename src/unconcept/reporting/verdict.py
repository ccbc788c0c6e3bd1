"""What came of an erasure: one line, three tiles, and the rows that a person needs."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..evaluation.scores import ANOTHER_SEED, PIXELS

Outcome = Literal["good", "doubtful", "bad", "unknown"]

# A concept counts as erased if the interval of its share reaches down to this.
ERASED_SHARE = 0.02

# Points of accuracy that neighbours and unrelated images may lose before the verdict says so, even
# if so few images cannot prove the loss.
TOLERATED_LOSS = 0.1

ANOTHER_SAMPLER = "control, another sampler: "

GROUP_TITLES = {
    "target": "the concept",
    "synonym": "its synonyms",
    "implied": "implicit descriptions",
    "neighbour": "near neighbours",
    "unrelated": "unrelated",
    "structure": "controls",
}


@dataclass(frozen=True)
class Verdict:
    """The outcome of a run in one line: "Erased", "Not erased: ...", "Erased, but ..."."""

    outcome: Outcome
    text: str


@dataclass(frozen=True)
class Tile:
    """One of the three numbers at the top of a report.

    title     "gone", "instead", "rest kept"
    value     the number: "0 of 20"
    detail    what it is a number of
    interval  its 95 % interval, and what it was before
    """

    title: str
    value: str
    detail: str
    interval: str


def samples_of(report: Mapping[str, Any]) -> str:
    """What the model of a report samples: "images" or "clips".

    Args:
        report: The content of report.json, or of compare.json.
    """
    return "clips" if report.get("settings", {}).get("frames") else "images"


def score_row(report: Mapping[str, Any], name: str, group: str) -> dict | None:
    """Find a score of a report.

    Args:
        report: The content of report.json.
        name: The score's name.
        group: The group of prompts.

    Returns:
        Its row; None if it is not there or was not measured.
    """
    for row in report["scores"]:
        if (row["name"], row["group"]) == (name, group) and row["after"] is not None:
            return row
    return None


def judge_verdict(report: Mapping[str, Any]) -> Verdict:
    """Say what came of a run.

    Args:
        report: The content of report.json.

    Returns:
        The verdict.
    """
    if report["failure"]:
        kind, _, reason = report["failure"].partition(": ")
        if kind == "no-op":
            return Verdict("bad", f"Not erased: {reason}")
        return Verdict("bad", f"It did not work: {report['failure']}")
    if not report["scores"]:
        return Verdict("unknown", f"Not evaluated: no {samples_of(report)} were sampled")
    if not score_row(report, "concept", "target"):
        return Verdict("unknown", f"Not scored: no judge; look at the {samples_of(report)}")
    if remains := remaining_concept(report):
        return Verdict("doubtful", f"Partly erased: {remains}")
    losses = []
    for group in ("neighbour", "unrelated"):
        if loss := lost_accuracy(report, group):
            losses.append(loss)
    if losses:
        return Verdict("doubtful", f"Erased, but {'; '.join(losses)}")
    return Verdict("good", "Erased")


def remaining_concept(report: Mapping[str, Any]) -> str:
    """Where the concept is still seen, in words; "" if it is gone.

    Args:
        report: The content of report.json. The concept counts as gone where the interval of its
            share reaches down to ERASED_SHARE, under its own name and under its synonyms.
    """
    for group, by in (("target", ""), ("synonym", ", prompted by its synonyms,")):
        row = score_row(report, "concept", group)
        if row and row["before"] and row["ci95"][0] > ERASED_SHARE:
            return f"{concept_names(report)}{by} is still in {counts(row, samples_of(report))}"
    return ""


def lost_accuracy(report: Mapping[str, Any], group: str) -> str:
    """What neighbours or unrelated images lost, in words; "" if they kept their accuracy.

    Args:
        report: The content of report.json.
        group: "neighbour" or "unrelated".

    Returns:
        A clause with the number of images and the worst words. A loss counts if the 95 % interval
        of the difference lies below 0, or if it is TOLERATED_LOSS or more.
    """
    row = score_row(report, "right", group)
    if not row or row["before"] is None or row["after"] >= row["before"]:
        return ""
    difference = row.get("difference")
    proven = difference is not None and difference["ci95"][1] < 0
    if not proven and row["before"] - row["after"] < TOLERATED_LOSS:
        return ""
    samples = samples_of(report)
    title = {"neighbour": "near neighbours", "unrelated": f"unrelated {samples}"}[group]
    return f"{title} suffered: right in {counts(row, samples)}{worst_words(report, group)}"


def worst_words(report: Mapping[str, Any], group: str, most: int = 3) -> str:
    """The words of a group that lost most, as ", worst: fox, wolf"; "" if it is not known.

    Args:
        report: The content of report.json.
        group: Group of prompts, such as "neighbour".
        most: Largest number of words.

    Returns:
        The words whose accuracy fell, the largest loss first.
    """
    losses = []
    for row in report["scores"]:
        kind, _, word = row["name"].partition(": ")
        if (kind, row["group"]) == ("right", group) and word and row["after"] is not None:
            losses.append((row["after"] - row["before"], word))
    losses = [loss for loss in losses if loss[0] < 0]
    names = [name for _, name in sorted(losses)[:most]]
    return f"; worst: {', '.join(names)}" if names else ""


def counts(row: Mapping[str, Any], samples: str = "images") -> str:
    """A share in images: "3 of 20 images (before: 19)".

    Args:
        row: A score of report.json whose values are shares in [0, 1], measured before and after.
        samples: "images" or "clips".
    """
    after, before = (round(row[key] * row["n"]) for key in ("after", "before"))
    return f"{after} of {row['n']} {samples} (before: {before})"


def concept_names(report: Mapping[str, Any]) -> str:
    """The erased concepts in words: pig and castle.

    Args:
        report: The content of report.json.
    """
    return " and ".join(concept["erase"] for concept in report["concept"])


def alternative_names(report: Mapping[str, Any]) -> str:
    """The alternatives in words, each once.

    Args:
        report: The content of report.json.

    Returns:
        Joined by "and"; "" where no concept has an alternative.
    """
    alternatives = (concept["alternative"] for concept in report["concept"])
    return " and ".join(dict.fromkeys(name for name in alternatives if name))


def subject(report: Mapping[str, Any]) -> str:
    """What the report is about: "pig → cow, on emoji, by all-but-one".

    Args:
        report: The content of report.json.
    """
    return f"{title(report)}, {origin(report)}"


def origin(report: Mapping[str, Any]) -> str:
    """Model and method: "on emoji, by all-but-one".

    Args:
        report: The content of report.json; of a model's path the last part is shown.
    """
    return f"on {model_title(report['model']['name'])}, by {report['method']['name']}"


def model_title(name: str) -> str:
    """What a model is called where others read it: the last part of a path, a Hub id as it is.

    Args:
        name: What `--model` got.
    """
    path = Path(name)
    if path.is_absolute() or name.startswith((".", "~")) or len(path.parts) != 2:
        return path.name or name
    return name


def title(report: Mapping[str, Any]) -> str:
    """The concepts with their alternatives: "pig → cow; fox".

    Args:
        report: The content of report.json.
    """
    parts = []
    for concept in report["concept"]:
        change = f" → {concept['alternative']}" if concept["alternative"] else ""
        parts.append(concept["erase"] + change)
    return "; ".join(parts)


def tiles(report: Mapping[str, Any]) -> list[Tile]:
    """The three numbers at the top of a report: gone, instead, rest kept.

    Args:
        report: The content of report.json.

    Returns:
        Up to three tiles; what was not measured has none.
    """
    result = []
    samples = samples_of(report)
    if gone := score_row(report, "concept", "target"):
        where = " in any frame" if samples == "clips" else ""
        detail = f"{samples} show {concept_names(report)}{where}"
        result.append(share_tile("gone", gone, detail))
    if instead := score_row(report, "alternative", "target"):
        detail = f"show {alternative_names(report)}"
        result.append(share_tile("instead", instead, detail))
    if rest := score_row(report, "right", "unrelated"):
        result.append(share_tile("rest kept", rest, f"unrelated {samples} are right"))
    elif moved := score_row(report, PIXELS, "unrelated"):
        result.append(change_tile(report, moved))
    return result


def share_tile(name: str, row: Mapping[str, Any], detail: str) -> Tile:
    """A tile that states a share in images.

    Args:
        name: Stands above the number.
        row: A row of report.json whose scores are shares in [0, 1].
        detail: Stands below the number: what the images show.

    Returns:
        The tile, with the 95 % interval in percent and the number before.
    """
    low, high = (round(100 * end) for end in row["ci95"])
    before = round(row["before"] * row["n"])
    value = f"{round(row['after'] * row['n'])} of {row['n']}"
    return Tile(name, value, detail, f"95 % interval {low}–{high} %; before: {before}")


def change_tile(report: Mapping[str, Any], row: Mapping[str, Any]) -> Tile:
    """A tile that states how far the unrelated images moved.

    Args:
        report: The content of report.json; its control with another seed is the yardstick.
        row: Its row of pixel changes of unrelated images.

    Returns:
        The tile, with the 95 % interval and the control if it was measured.
    """
    low, high = row["ci95"]
    interval = f"95 % interval {low:.3f}–{high:.3f}, n {row['n']}"
    if seed := score_row(report, ANOTHER_SEED + PIXELS, "structure"):
        interval += f"; another seed: {seed['after']:.3f}"
    detail = f"pixel change of unrelated {samples_of(report)}"
    return Tile("rest kept", f"{row['after']:.3f}", detail, interval)


def moved_sentence(report: Mapping[str, Any]) -> str:
    """How far images moved that have the same seed, in words; "" if nothing was measured.

    Args:
        report: The content of report.json; medians of the mean absolute difference of pixels, in
            [0, 1].
    """
    parts = []
    for group, group_title in GROUP_TITLES.items():
        if row := score_row(report, PIXELS, group):
            parts.append(f"{group_title} {row['after']:.3f}")
    if not parts:
        return ""
    seed = score_row(report, ANOTHER_SEED + PIXELS, "structure")
    ruler = f" (another seed: {seed['after']:.3f})" if seed else ""
    return f"Pixel change at the same seed: {', '.join(parts)}{ruler}."


def image_pairs(report: Mapping[str, Any]) -> int:
    """How many images were sampled before, and as many after: controls apart.

    Args:
        report: The content of report.json.
    """
    total = 0
    for group in GROUP_TITLES:
        if group != "structure" and (row := score_row(report, PIXELS, group)):
            total += row["n"]
    return total
