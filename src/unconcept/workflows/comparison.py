"""Compare: several methods, or several settings of one, on the same concept, questions and seeds, each with what it cost."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import Tensor

from ..callbacks import Progress
from ..concepts.concept import Concept
from ..config.options import Look, Source
from ..edits.edit import Edit
from ..errors import InputError
from ..evaluation.failure_detection import detect_failure
from ..evaluation.features import features_or_none
from ..evaluation.frontier import Point, area, point
from ..evaluation.runner import CASES_PER_GROUP, CONTROLS, Evaluation, Extent, cache_key_unedited, evaluate, images_before, sampling_seeds
from ..evaluation.scores import PIXELS, find_score
from ..evaluation.setup import prepare
from ..io.output_folder import check_out, whole_folder
from ..methods import Method, method_caveat
from ..models.image_cache import sample_images
from ..models.interface import Model
from ..models.loading import load
from ..profiling.usage import calls_per_image, count_calls, peak_memory, reset_peak_memory
from ..reporting.frontier_plot import plot
from ..reporting.html import embed, embed_file, render
from ..reporting.image_grid import GROUP_TITLES, columns
from ..reporting.report import format_value, markdown, title

# How far the edits are dialled for the plane of removed against kept; 1, as trained, is there anyway.
STRENGTHS: dict[Extent, tuple[float, ...]] = {"short": (0.5,), "full": (0.25, 0.5, 0.75, 1.25), "none": ()}

# The table: measure, group, and how it is called there.
MEASURES = (
    ("concept", "target", "concept left"), ("concept", "synonym", "by a synonym"), ("alternative", "target", "alternative instead"),
    ("right", "neighbour", "neighbours right"), ("right", "unrelated", "unrelated right"), (PIXELS, "neighbour", "neighbours moved"),
    (PIXELS, "unrelated", "unrelated moved"), ("layout change, 8x8 L1", "target", "layout of the concept's pictures moved"),
    ("drift of the unconditional prediction", "structure", "drift of ε(∅)"),
)  # fmt: skip

COSTS = "area", "network calls", "calls for a picture", "seconds", "GiB"  # behind them


@dataclass(frozen=True)
class Entry:
    """What came of one method. failure: what the detectors found, or null. remark: what must be known of it in this model, or "". area: under its frontier, null where no judge tells."""

    name: str
    edit: Edit
    found: Evaluation
    cost: dict
    failure: str | None
    method_caveat: str
    points: list[Point]
    area: float | None


def compare(
    concepts: Sequence[Concept], methods: Mapping[str, Method], *, model: str | Source = "emoji", out: Path, seed: int = 0, extent: Extent = "short",
    prompts: Path | None = None, look: Look = Look(), force: bool = False, cache: Path | None = None,
    progress: Callable[[Progress], None] = lambda progress: None,
) -> dict:  # fmt: skip
    """Run every method from the same untouched model, ask the same questions, and write the folder `out`. A method that cannot do it on this
    model says why, and the others go on.

    It holds compare.json, compare.md, compare.html, compare.png, where a judge tells what is removed frontier.png, and the edit of each
    method. Returns the content of compare.json.
    prompts: a CSV file of the user's own, asked besides. cache: a folder of pictures made before.
    """
    check_out(out, force)
    net = load(source := Source.of(model))
    concepts, benchmark, judged = prepare(net, source.model, concepts, CASES_PER_GROUP[extent], seed, prompts, look)
    given: dict[str, Any] = dict(seed=seed, **look.sampling(net.guidance), cache=cache, progress=progress)
    before = images_before(net, benchmark, **given)
    entries, refused, features = [], {}, features_or_none()
    for name, method in methods.items():
        reset_peak_memory()
        start = time.perf_counter()
        told = lambda p, name=name: progress(Progress(f"{name}: {p.stage}", p.done, p.total, p.loss, p.held_out))
        try:
            with count_calls(net) as calls:
                edit = method(net, *concepts, progress=told)
        except InputError as reason:
            refused[name] = str(reason)
            continue
        cost = {"seconds": round(time.perf_counter() - start, 1), "network_calls": calls["n"], "peak_memory_bytes": peak_memory()}
        cost["calls_for_a_picture"] = calls_per_image(net, edit, **look.sampling(net.guidance))
        found = evaluate(net, edit, benchmark, before=before, controls=CONTROLS[extent], full=True, features=features, **given)
        points = strength_curve(net, edit, benchmark, found, STRENGTHS[extent], given)
        failure, told = detect_failure(found.rows, before, found.after), method_caveat(method, net)
        entries.append(Entry(name, edit, found, cost, failure, told, points, area(points) if points else None))
    if not entries:
        raise InputError("; ".join(f"{name}: {reason}" for name, reason in refused.items()))
    result = {
        "schema": 1,
        "concept": [{k: getattr(c, k) for k in ("erase", "alternative", "synonyms", "keep")} for c in concepts],
        "model": {"name": source.model, "family": net.family, "sha256": entries[0].edit.card.get("model_sha256")},
        "methods": [
            {"name": e.name, "settings": e.edit.card.get("settings", {}), "cost": e.cost, "failure": e.failure, "remark": e.remark or None,
             "area": e.area, "frontier": [vars(p) for p in e.points], "scores": e.found.rows}
            for e in entries
        ],
        "refused": refused,
        "remark": net.remark or None,
        "settings": {"evaluation": extent, "seed": seed, **look.sampling(net.guidance), "judge": judged},
        "versions": {name: version(name) for name in ("unconcept", "torch", "diffusers", "transformers")},
    }  # fmt: skip
    with whole_folder(out, force) as folder:
        write_comparison(folder, result, benchmark, before, entries)
    return result


def strength_curve(net: Model, edit: Edit, benchmark, found: Evaluation, strengths: Sequence[float], given: dict) -> list[Point]:
    """The edit as trained and at other strengths, on the same questions; no point where no judge tells what is removed."""
    there, seed = find_score(found.rows, "concept", "target"), find_score(found.rows, f"control, another seed: {PIXELS}", "structure")
    if not there or not there["before"] or not seed or not seed["after"]:
        return []
    points = [point(benchmark, 1.0, found.before, found.after, seed["after"])]
    asked, first = [q.prompt for q in benchmark.cases], sampling_seeds(benchmark, given["seed"])
    shown = {name: value for name, value in given.items() if name != "seed"}
    base = cache_key_unedited(net) if given["cache"] else ""
    for s in strengths:
        part = edit.scale(s)
        with part.on(net):
            after = sample_images(net, asked, first, **shown, made_by=base and base + part.fingerprint(), stage=f"strength {s}")
        points.append(point(benchmark, s, found.before, after, seed["after"]))
    return sorted(points, key=lambda p: p.strength)


def table(result: dict) -> tuple[list[str], list[list[str]]]:
    """(header, one line for the untouched model and one for each method): every score with its interval and n, then what it cost."""
    shown = [m for m in MEASURES if any(find_score(e["scores"], m[0], m[1]) for e in result["methods"])]
    first = [find_score(result["methods"][0]["scores"], name, group) for name, group, _ in shown]
    lines = [
        [
            "before",
            *(format_value(row["before"], row["name"]) if row and row["before"] is not None else "–" for row in first),
            *["–"] * len(COSTS),
        ]
    ]
    for e in result["methods"]:
        cells = []
        for name, group, _ in shown:
            row = find_score(e["scores"], name, group)
            cells.append(
                "–"
                if row is None
                else f"{format_value(row['after'], name)} [{' – '.join(format_value(v, name) for v in row['ci95'])}] n {row['n']}"
            )
        cost = e["cost"]
        cells += ["–" if e["area"] is None else f"{e['area']:.2f}", f"{cost['network_calls']:,}", f"{cost['calls_for_a_picture']:,}", f"{cost['seconds']:.0f}", f"{cost['peak_memory_bytes'] / 2**30:.1f}"]  # fmt: skip
        lines.append([e["name"], *cells])
    return ["method", *(called for *_, called in shown), *COSTS], lines


def write_comparison(folder: Path, result: dict, benchmark, before: Tensor, entries: Sequence[Entry]) -> None:
    header, lines = table(result)
    name = title(result)
    (folder / "compare.json").write_text(json.dumps(result, indent=1, allow_nan=False) + "\n")
    notes = [f"{method} cannot: {reason}" for method, reason in result["refused"].items()] + [result["remark"]] * bool(result["remark"])
    notes += [f"{e.name}: {e.remark}" for e in entries if e.remark]
    (folder / "compare.md").write_text(f"# {name}\n\n{markdown(header, lines)}" + "".join(f"\n{note}\n" for note in notes))
    rows = []
    for group, heading in GROUP_TITLES.items():
        asked = [i for i, q in enumerate(benchmark.cases) if q.group == group]
        shown = sorted(asked, key=lambda i: benchmark.cases[i].way != "own")[:6]
        rows += [(heading, benchmark.cases[i].prompt, [embed(p[i]) for p in (before, *(e.found.after for e in entries))]) for i in shown]
    curves = {e.name: e.points for e in entries if e.points}
    drawn = bool(curves) and plot(curves, str(folder / "frontier.png"), name)
    (folder / "compare.html").write_text(
        render("compare.html", title=name, header=header, lines=lines, rows=rows, names=["before", *(e.name for e in entries)], r=result,
               failures=[(e.name, e.failure) for e in entries if e.failure], curves=curves, frontier=embed_file(folder / "frontier.png") if drawn else None, small=before.shape[-1] < 160)
    )  # fmt: skip
    columns(benchmark.cases, {"before": before, **{e.name: e.found.after for e in entries}}).save(folder / "compare.png")
    for e in entries:
        e.edit.save(folder / f"{e.name}.safetensors")
