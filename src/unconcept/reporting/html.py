"""The report as one web page that needs nothing else.

Its images are inside, nothing is fetched; it is readable on a phone, light and dark.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from typing import Any

from ..evaluation.runner import Evaluation
from ..evaluation.strength_curve import StrengthCurve
from .image_files import image_file
from .thumbnails import THUMBNAIL, encode_to_fit, thumbnail
from .verdict import (
    ANOTHER_SAMPLER,
    ANOTHER_SEED,
    GROUP_TITLES,
    judge_verdict,
    moved_sentence,
    origin,
    samples_of,
    tiles,
    title,
)

PAIRS = 100  # are shown

CONTROLS = {ANOTHER_SEED: "another seed", ANOTHER_SAMPLER: "another sampler"}

UNBARRED = ("selectivity", "drift", "KID", "FID", "control: ")

GLOSSARY = {
    "concept, share of frames": "share of a clip's frames that show the concept, mean over clips",
    "concept, first frame": "the first frame that shows the concept, counted from 1; mean over the "
    "clips that show it",
    "concept, last frame": "the last one likewise",
    "concept": "the judge sees the erased concept",
    "alternative": "the judge sees what should come instead",
    "right": "the judge sees what the prompt names",
    "other": "the second object of a scene is there",
    "style": "the image has the style of its prompt",
    "background": "the background has the colour of its prompt",
    "all": "everything else that the prompt asks for is right",
    "confidence of the judge": "the probability of what the judge sees, median over images",
    "plain, colour, style, scene": "the kind of prompt: the bare name, with a coloured background, "
    "in a style, beside another object",
    "pixel change, L1": "mean absolute difference of two images' pixels in [0, 1], same seed",
    "layout change, 8x8 L1": "the same for both images shrunk to 8 by 8 pixels",
    "edge change, 1-F1": "how badly the edges of both images coincide; 0: perfectly",
    "background change, rim L1": "the pixel change of the image's border",
    "ssim, gaussian 11": "structural similarity; 1: identical",
    "feature change, 1-cos": "distance of both images in the features of a classifier",
    "selectivity": "how many times more the concept's images changed than unrelated ones",
    "late return": "the concept is in the last third of a clip's frames and not in the first",
    "motion": "the clip moves as its prompt says",
    "object": "the clip shows the object that its prompt names",
    "identity switches per clip": "how often the judge sees something else than in the frame "
    "before",
    "flicker, 1 - L1 between frames": "VBench's temporal flickering: 1 for a clip that does not "
    "change; a moving clip has less",
    "subject consistency": "VBench's formula with another feature space: how alike the frames are",
    "KID": "kernel distance between two sets of images; 0: the same distribution",
    "95 % interval": "where the true value lies, given so few images: Wilson for shares, bootstrap "
    "for medians",
    "n": "number of images, or of clips",
    "another seed": "control: the change between two seeds, without any edit",
    "another sampler": "control: the change between two samplers, without any edit",
}


@dataclass(frozen=True)
class ReportPage:
    """The words of a page.

    report    content of report.json
    rows      its scores in words (report.table), in the same order
    judge     who the judge is, and how often it is right
    legend    how to read the scores
    facts     cost, settings, versions and hashes
    curve     header and lines of the concept at several strengths; none without a judge
    """

    report: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]
    judge: str
    legend: str
    facts: Sequence[tuple[str, object]]
    curve: tuple[Sequence[str], Sequence[Sequence[str]]] = ((), ())


@dataclass(frozen=True)
class Pair:
    """An image pair of the page.

    case           its prompt and group
    before, after  thumbnails, embedded
    files          the same at full size, relative to the page
    """

    case: Any
    before: str
    after: str
    files: tuple[str, str]


def page(
    content: ReportPage,
    cases: Sequence,
    evaluation: Evaluation,
    curve: StrengthCurve | None = None,
) -> str:
    """Render report.html.

    Args:
        content: The page's words.
        cases: N prompts with their groups.
        evaluation: N images or clips of the untouched model, and of the erased one from the same
            seeds.
        curve: The concept at several strengths of the edit, where it was measured.

    Returns:
        HTML.
    """
    before, after = evaluation.before, evaluation.after
    shown = pick_spread(cases)
    samples = []
    for i in shown:
        samples += [before[i], after[i]]
    steps = list(curve.images.values()) if curve else []
    for some in steps:
        samples += list(some)
    uris = iter(encode_to_fit([thumbnail(sample) for sample in samples]))
    pairs = []
    for i in shown:
        files = (image_file(i, "before"), image_file(i, "after"))
        pairs.append(Pair(cases[i], next(uris), next(uris), files))
    groups = []
    for group, members in groupby(pairs, key=lambda pair: pair.case.group):
        groups.append((GROUP_TITLES[group], list(members)))
    columns = [[next(uris) for _ in some] for some in steps]
    report = content.report
    return render(
        "report.html",
        title=title(report),
        verdict=judge_verdict(report),
        samples=samples_of(report),
        origin=origin(report),
        moved=moved_sentence(report),
        tiles=tiles(report),
        content=content,
        r=report,
        small=before.shape[-1] < THUMBNAIL,
        width=before.shape[-1],
        height=before.shape[-2],
        shown=len(shown),
        total=len(cases),
        groups=groups,
        strengths=[f"{strength:g}" for strength in curve.images] if curve else [],
        strength_rows=list(zip([cases[i].prompt for i in curve.places], *columns)) if curve else [],
        rows=score_lines(content.rows, report["scores"]),
        glossary=GLOSSARY,
    )


def score_lines(words: Sequence[Mapping], rows: Sequence[dict]) -> list[dict]:
    """The lines of the table of scores.

    Controls with a measure of their own become ticks in the lines of that measure.

    Args:
        words: The rows in words.
        rows: The rows of report.json, in the same order.

    Returns:
        The words, and for each line the bar to draw and what the glossary says.
    """
    drawn = {row["name"] for row in rows if row["group"] != "structure"}
    lines = []
    for line, row in zip(words, rows):
        if measure_of(row["name"]) not in drawn:
            lines.append({**line, "bar": bar(row, rows), "meaning": meaning_of(row["name"])})
    return lines


def meaning_of(name: str) -> str:
    """What the glossary says of a score's name; "" if it says nothing.

    Args:
        name: As report.json has it; a word of the glossary may be followed by details: "right:
            fox".
    """
    for word, meaning in GLOSSARY.items():
        if name == word or name.startswith((f"{word}: ", f"{word},", f"{word} ")):
            return meaning
    return ""


def measure_of(name: str) -> str:
    """The measure of a control: "pixel change, L1" of "control, another seed: pixel change, L1".

    Args:
        name: As report.json has it.

    Returns:
        "" for a score that is not a control.
    """
    for prefix in CONTROLS:
        if name.startswith(prefix):
            return name.removeprefix(prefix)
    return ""


def pick_spread(cases: Sequence, most: int = PAIRS) -> list[int]:
    """Choose which pairs are shown.

    Args:
        cases: Prompts with their groups.
        most: How many pairs there is room for.

    Returns:
        Places in `cases`, group by group: as many of each group, as far as it has them, evenly
        spread over it.
    """
    groups = []
    for group in GROUP_TITLES:
        groups.append([i for i, case in enumerate(cases) if case.group == group])
    each = 0
    while each < len(cases) and sum(min(each + 1, len(places)) for places in groups) <= most:
        each += 1
    shown = []
    for places in groups:
        count = min(each, len(places))
        shown += [places[k * len(places) // count] for k in range(count)]
    return shown


@cache
def templates() -> Any:
    """The templates of this package, each compiled once."""
    from jinja2 import Environment, PackageLoader

    return Environment(
        loader=PackageLoader("unconcept.reporting"), autoescape=True, trim_blocks=True
    )


def render(template: str, **content) -> str:
    """Fill in one of the templates.

    Args:
        template: Its file name.
        **content: What it shows.

    Returns:
        HTML.
    """
    return templates().get_template(template).render(**content)


def bar(row: dict, rows: Sequence[dict]) -> dict | None:
    """Where a score's dots, interval and controls are drawn.

    Args:
        row: A score of report.json.
        rows: All scores: changes are drawn on the scale of the largest of their kind.

    Returns:
        Places in percent of the line: low, high, now, then, and ticks (place, title); None for a
        score that has no scale.
    """
    if row["after"] is None or row["name"].startswith(UNBARRED):
        return None
    top = 1.0
    if "change" in row["name"]:
        same = [r for r in rows if r["ci95"] and kind_of(r["name"]) == kind_of(row["name"])]
        top = max(r["ci95"][1] for r in same) or 1.0  # nothing changed
    low, high = row["ci95"]
    places: dict[str, Any] = {
        "low": place(low, top),
        "high": place(high, top),
        "now": place(row["after"], top),
        "then": None if row["before"] is None else place(row["before"], top),
        "ticks": [],
    }
    for control in rows:
        if row["name"] == measure_of(control["name"]) and control["after"] is not None:
            start, end = control["ci95"]
            label = control_label(control["name"])
            text = f"{label}: {control['after']:.3f} ({start:.3f} – {end:.3f})"
            places["ticks"].append((place(control["after"], top), text))
    return places


def kind_of(name: str) -> str:
    """The last part of a score's name: of which change a control is.

    Args:
        name: As report.json has it, of a control or of a measure.

    Returns:
        "pixel change, L1" of "control, another seed: pixel change, L1"; the whole name without a
        colon.
    """
    return name.rpartition(": ")[2]


def control_label(name: str) -> str:
    """A control's name in the glossary.

    Args:
        name: Of a control: it begins with one of `CONTROLS`.
    """
    return next(label for prefix, label in CONTROLS.items() if name.startswith(prefix))


def place(value: float, top: float) -> float:
    """A value in percent of a line that ends at `top`.

    Args:
        value: On the scale of the line; values outside [0, top] are moved to its ends.
        top: The value at the end of the line, above 0.

    Returns:
        Percent from 0 to 100, with one decimal.
    """
    return round(100 * min(max(value / top, 0), 1), 1)
