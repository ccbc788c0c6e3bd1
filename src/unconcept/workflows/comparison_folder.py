"""The folder of a comparison: its table, pages, images and records."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ..edits.edit import Edit
from ..evaluation.benchmark import Benchmark
from ..evaluation.clip_benchmark import FLICKER, SHARE_OF_FRAMES, SWITCHES
from ..evaluation.frontier import Point, area
from ..evaluation.runner import Evaluation, sampling_seeds
from ..evaluation.scores import PIXELS, find_score
from ..io.text import in_markdown
from ..reporting.frontier_plot import plot
from ..reporting.html import render
from ..reporting.image_files import image_file, write_images
from ..reporting.image_grid import GROUP_TITLES, columns
from ..reporting.report import format_value, markdown, title
from ..reporting.samples import benchmark_records
from ..reporting.thumbnails import embed, embed_file
from ..reporting.verdict import model_title

# Columns of the table: score, group, header.
MEASURES = (
    ("concept", "target", "concept left"),
    ("concept", "synonym", "by a synonym"),
    ("alternative", "target", "alternative instead"),
    ("right", "neighbour", "neighbours right"),
    ("right", "unrelated", "unrelated right"),
    (PIXELS, "neighbour", "neighbours moved"),
    (PIXELS, "unrelated", "unrelated moved"),
    ("layout change, 8x8 L1", "target", "layout of the concept's images moved"),
    ("drift of the unconditional prediction", "structure", "drift of ε(∅)"),
)

CLIP_MEASURES = (  # of a text-to-video model, after those
    (f"concept{SHARE_OF_FRAMES}", "target", "frames that show it"),
    ("late return", "target", "late return"),
    ("motion", "target", "motion kept"),
    ("object", "target", "object kept"),
    ("background", "target", "background kept"),
    (SWITCHES, "target", SWITCHES),
    (FLICKER, "target", "flicker"),
)

COSTS = ("area", "network calls", "calls per image", "seconds", "GiB")

IMAGES_PER_GROUP = 6  # shown on the page

MISSING = "–"


@dataclass(frozen=True)
class Entry:
    """The result of one method.

    name        what the comparison calls it
    edit        the trained edit
    evaluation  its scores and images
    cost        of training and sampling
    failure     one line about what went wrong, or None
    remark      what must be known of the method in this model, or ""
    points      the edit at several strengths; empty where no judge decides what is removed
    """

    name: str
    edit: Edit
    evaluation: Evaluation
    cost: dict
    failure: str | None
    remark: str
    points: list[Point]

    def to_json(self) -> dict:
        """The method's part of compare.json."""
        return {
            "name": self.name,
            "settings": self.edit.card.get("settings", {}),
            "cost": self.cost,
            "failure": self.failure,
            "remark": self.remark or None,
            "area": area(self.points) if self.points else None,
            "frontier": [vars(p) for p in self.points],
            "scores": self.evaluation.scores.to_json(),
        }


def table(result: dict) -> tuple[list[str], list[list[str]]]:
    """The comparison as a table.

    Args:
        result: The content of compare.json.

    Returns:
        (header, lines): one line for the untouched model and one per method, with every score, its
        interval and n, and the costs.
    """
    shown = []
    measures = MEASURES + (CLIP_MEASURES if result["settings"].get("frames") else ())
    for name, group, header in measures:
        if any(find_score(entry["scores"], name, group) for entry in result["methods"]):
            shown.append((name, group, header))
    first = ["before"]
    for name, group, _ in shown:
        row = find_score(result["methods"][0]["scores"], name, group)
        first.append(format_value(row["before"] if row else None, name))
    lines = [first + [MISSING] * len(COSTS)]
    for entry in result["methods"]:
        scores = [_cell(entry["scores"], name, group) for name, group, _ in shown]
        lines.append([entry["name"], *scores, *_cost_cells(entry)])
    return ["method", *(header for _, _, header in shown), *COSTS], lines


def _cell(rows: Sequence[dict], name: str, group: str) -> str:
    """A score with its interval and n."""
    row = find_score(rows, name, group)
    if row is None:
        return MISSING
    low, high = (format_value(value, name) for value in row["ci95"])
    return f"{format_value(row['after'], name)} [{low} – {high}] n {row['n']}"


def _cost_cells(entry: dict) -> list[str]:
    cost = entry["cost"]
    return [
        MISSING if entry["area"] is None else f"{entry['area']:.2f}",
        f"{cost['network_calls']:,}",
        f"{cost['calls_for_a_picture']:,}",
        f"{cost['seconds']:.0f}",
        f"{cost['peak_memory_bytes'] / 2**30:.1f}",
    ]


def write_comparison(
    folder: Path, result: dict, benchmark: Benchmark, before: Tensor, entries: Sequence[Entry]
) -> None:
    """Write the files of a comparison.

    Args:
        folder: Where to.
        result: The content of compare.json.
        benchmark: The prompts of the images.
        before: Images [N, 3, H, W] or clips [N, F, 3, H, W] in [0, 1] without any edit.
        entries: One per method.
    """
    images = {"before": before}
    for entry in entries:
        images[entry.name] = entry.evaluation.after
        entry.edit.save(folder / f"{entry.name}.safetensors")
    write_images(folder, images, [i for i, _ in _shown(benchmark)])
    (folder / "compare.json").write_text(json.dumps(result, indent=1, allow_nan=False) + "\n")
    (folder / "compare.md").write_text(_markdown_page(result, entries), encoding="utf-8")
    columns(benchmark.cases, images).save(folder / "compare.png")
    curves = {entry.name: entry.points for entry in entries if entry.points}
    drawn = bool(curves) and plot(curves, str(folder / "frontier.png"), title(result))
    header, lines = table(result)
    page = render(
        "compare.html",
        title=title(result),
        model=model_title(result["model"]["name"]),
        header=header,
        lines=lines,
        rows=list(_image_rows(benchmark, images)),
        names=list(images),
        r=result,
        failures=[(entry.name, entry.failure) for entry in entries if entry.failure],
        curves=curves,
        frontier=embed_file(folder / "frontier.png") if drawn else None,
        small=before.shape[-1] < 160,
    )
    (folder / "compare.html").write_text(page, encoding="utf-8")


def _markdown_page(result: dict, entries: Sequence[Entry]) -> str:
    notes = [f"{method} cannot: {reason}" for method, reason in result["refused"].items()]
    if result["remark"]:
        notes.append(result["remark"])
    for entry in entries:
        if entry.remark:
            notes.append(f"{entry.name}: {entry.remark}")
    page = f"# {in_markdown(title(result))}\n\n{markdown(*table(result))}"
    return page + "".join(f"\n{in_markdown(note)}\n" for note in notes)


def sample_records(
    benchmark: Benchmark, seed: int, before: Tensor, entries: Sequence[Entry]
) -> list[dict]:
    """The lines of samples.jsonl: the images without any edit, then those of each method.

    Args:
        benchmark: The prompts of the images, and their judge.
        seed: Of the run.
        before: Images [N, 3, H, W] or clips [N, F, 3, H, W] in [0, 1] without any edit.
        entries: One per method.
    """
    seeds = sampling_seeds(benchmark, seed)
    places = {i for i, _ in _shown(benchmark)}
    sets: list[tuple[str | None, Tensor]] = [(None, before)]
    for entry in entries:
        sets.append((entry.name, entry.evaluation.after))
    records = []
    for method, images in sets:
        facts = {"stage": "after", "method": method, "strength": 1.0}
        if method is None:
            facts = {"stage": "before", "method": None, "strength": 0.0}
        for i, record in enumerate(benchmark_records(benchmark, images, seeds, **facts)):
            file = image_file(i, method or "before") if i in places else None
            records.append({**record, "file": file})
    return records


def _shown(benchmark: Benchmark) -> Iterator[tuple[int, str]]:
    """(place, heading) of the cases on the page; the user's own prompts come first."""
    for group, heading in GROUP_TITLES.items():
        members = [i for i, case in enumerate(benchmark.cases) if case.group == group]
        members.sort(key=lambda i: benchmark.cases[i].way != "own")
        for i in members[:IMAGES_PER_GROUP]:
            yield i, heading


def _image_rows(
    benchmark: Benchmark, images: Mapping[str, Tensor]
) -> Iterator[tuple[str, str, list[str], list[str]]]:
    """(heading, prompt, embedded images, files of the same at full size) for the page."""
    for i, heading in _shown(benchmark):
        files = [image_file(i, name) for name in images]
        yield (
            heading,
            benchmark.cases[i].prompt,
            [embed(some[i]) for some in images.values()],
            files,
        )
