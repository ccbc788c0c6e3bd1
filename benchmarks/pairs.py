"""Erasures of many pairs that no setting was chosen on: the distribution over pairs, not the mean.

    python benchmarks/pairs.py run --half tuning --methods all-but-one uce speed
    python benchmarks/pairs.py run --half reporting --methods all-but-one --shard 0/2
    python benchmarks/pairs.py table --half reporting
    python benchmarks/pairs.py cases                  # print the cases and their halves

Cases: 60 pairs of objects (half with a near alternative, half with a far one), 10 pairs of styles,
5 categories and 5 concepts without an alternative, drawn once by a fixed seed. Half of each kind is
for choosing settings ("tuning"), the other half for reporting. A concept that an earlier page of
results or an earlier choice of settings has used can only be in the tuning half.

Images of a case: 30 prompts that name the concept and 10 that name a synonym (plain, on a colour,
in a style, in a scene), 42 prompts of its six nearest neighbours, 20 unrelated prompts. The seed of
an image depends on its prompt alone, so the untouched model's images of neighbours are shared by
all cases and all methods. The untouched model also draws every target prompt with the alternative
in the concept's place, from the same seeds ("outright"): the most that an erasure can reach.

Each finished (case, method) leaves one JSON file of per-image marks; a command that was interrupted
continues where it stopped.
"""

import argparse
import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import authors_code
import torch
from common import RESULTS, once
from pair_cases import Case, draw_cases, spread
from pair_figures import distribution, summary
from pair_prompts import build_exam, thinned
from torch import Tensor

from unconcept import load
from unconcept.cli.method_settings import AUTHORS, authors_settings, settings_for_model
from unconcept.config.overrides import override
from unconcept.edits.edit import Edit
from unconcept.evaluation.emoji.benchmark import EmojiBenchmark
from unconcept.evaluation.features import features_or_none
from unconcept.models import Model
from unconcept.models.image_cache import cache_folder, file_name
from unconcept.models.sampling import ImageSampler, Sampling
from unconcept.profiling.usage import count_calls

SAMPLING = {"emoji": ("dpm-solver++", 10), "emoji-flow": ("euler", 10)}


def sample(model: Model, prompts: Sequence[str], seeds: Sequence[int], cached: bool) -> Tensor:
    """Images [N, 3, H, W] in [0, 1]; those of the untouched model are cached."""
    sampler, steps = SAMPLING[model_name(model)]
    sampling = Sampling(steps, model.guidance, sampler)
    images = ImageSampler(model, sampling, cache_folder() if cached else None)
    if not cached:
        return images.images(prompts, seeds)
    missing = []
    for prompt, seed in dict.fromkeys(zip(prompts, seeds, strict=True)):
        file = file_name(images.cache_key(), prompt, seed, sampler, steps, model.guidance)
        if not (cache_folder() / file).exists():
            missing.append((prompt, seed))
    if missing:
        images.images([p for p, _ in missing], [s for _, s in missing])
    return images.images(prompts, seeds)


def model_name(model: Model) -> str:
    return "emoji" if model.family == "stable-diffusion" else "emoji-flow"


def measure(model: Model, case: Case, edit: Edit, exam: EmojiBenchmark) -> dict:
    """The judge's marks of every image of a case, of the edited and of the untouched model."""
    questions = exam.cases
    prompts, seeds = [q.prompt for q in questions], [int(q.seed or 0) for q in questions]
    targets = [i for i, q in enumerate(questions) if q.group in ("target", "synonym")]
    rest = [i for i in range(len(questions)) if i not in set(targets)]
    with edit.on(model):
        after = sample(model, prompts, seeds, cached=False)
    before = after.clone()
    before[rest] = sample(model, [prompts[i] for i in rest], [seeds[i] for i in rest], cached=True)
    outright = after.clone()
    if case.alternative is not None:
        outright[targets] = sample(
            model, [questions[i].instead for i in targets], [seeds[i] for i in targets], cached=True
        )
    marks, marks_before, marks_outright = (
        exam.marks(after),
        exam.marks(before),
        exam.marks(outright),
    )
    moved = (after - before).abs().mean((1, 2, 3))
    confidence, sure_outright = (
        exam.values(x)["confidence of the judge"] for x in (after, outright)
    )
    distance, usual = (
        feature_distances(after[targets], outright[targets]) if case.alternative else ([], [])
    )
    images = []
    for i, q in enumerate(questions):
        row: dict[str, Any] = {
            "prompt": q.prompt,
            "seed": q.seed,
            "group": q.group,
            "way": q.way,
            "word": q.name,
        }
        row["confidence"] = round(float(confidence[i]), 3)
        for mark in ("concept", "other", "style", "background"):
            row[mark] = value_of(marks[mark][i])
        if i in targets:
            row["alternative"] = value_of(marks["alternative"][i])
            if case.alternative:
                row["outright"] = value_of(marks_outright["alternative"][i])
                row["outright confidence"] = round(float(sure_outright[i]), 3)
        else:
            row |= {
                "right": value_of(marks["right"][i]),
                "right before": value_of(marks_before["right"][i]),
            }
            row["moved"] = round(float(moved[i]), 5)
        images.append(row)
    for i, d, u in zip(targets, distance, usual):
        images[i] |= {"feature distance": round(d, 4), "outright distance": round(u, 4)}
    return {"images": images}


def value_of(mark: Tensor) -> float | None:
    return None if math.isnan(float(mark)) else float(mark)


def feature_distances(after: Tensor, outright: Tensor) -> tuple[list[float], list[float]]:
    """Cosine distance of each image to the nearest of the alternative's own images of other
    prompts: of the edited model, and of the alternative's own images themselves. Empty without the
    extra `evaluate`.
    """
    features = features_or_none()
    if features is None:
        return [], []
    own = torch.nn.functional.normalize(features(outright), dim=1)
    edited = torch.nn.functional.normalize(features(after), dim=1)
    other = ~torch.eye(len(own), dtype=torch.bool)
    nearest = [(1 - (rows @ own.T).where(other, -1.0).amax(1)).tolist() for rows in (edited, own)]
    return nearest[0], nearest[1]


def method_of(spec: str, model: str) -> Any:
    """A method by its name, or with settings: "all-but-one:strength=3,tune.steps=0"; with its
    authors' settings instead of those chosen for the embedded model, "uce@authors"; or the code
    of its authors: "speed-authors".
    """
    if spec in authors_code.METHODS:
        return authors_code.METHODS[spec]
    name, _, rest = spec.partition(":")
    name, _, preset = name.partition("@")
    settings: dict = {}
    for entry in filter(None, rest.split(",")):
        key, _, value = entry.partition("=")
        *path, last = key.split(".")
        place = settings
        for part in path:
            place = place.setdefault(part, {})
        try:
            place[last] = json.loads(value)
        except json.JSONDecodeError:
            place[last] = value  # a word, such as none
    method = authors_settings(name) if preset == AUTHORS else settings_for_model(name, model)
    return override(method, settings, spec)


def run(arguments: argparse.Namespace) -> None:
    torch.set_num_threads(arguments.threads)
    index, _, count = arguments.shard.partition("/")
    cases = [case for case in draw_cases() if arguments.half in ("both", case.half)]
    cases = [
        case for case in cases if not arguments.kinds or case.kind in arguments.kinds.split(",")
    ]
    if arguments.names:
        cases = [case for case in cases if case.name in arguments.names.split(",")]
    cases = spread(cases)[int(index) :: int(count)][: arguments.most]
    model = load(arguments.model)
    for case in cases:
        for spec in arguments.methods:

            def make(case: Case = case, spec: str = spec) -> dict:
                method = method_of(spec, arguments.model)
                started = time.process_time()
                with count_calls(model) as cost:
                    edit = method(model, case.concept())
                seconds = time.process_time() - started
                exam = thinned(build_exam(model, case), arguments.every)
                measured = measure(model, case, edit, exam)
                about = {
                    "case": asdict(case),
                    "method": spec,
                    "cpu_seconds": round(seconds, 2),
                    "network_calls": cost["n"],
                }
                return {**about, **measured}

            file = result_file(arguments, spec, case)
            result = once(file, make)
            if result:
                figures = summary(case, result["images"])
                print(
                    case.name,
                    spec,
                    {key: None if v is None else round(v, 3) for key, v in figures.items()},
                    flush=True,
                )


def one_case(case: Case, methods: Sequence[str], out: Path, every: int = 1) -> argparse.Namespace:
    """The arguments of `run` for one case, on one thread."""
    return argparse.Namespace(
        half=case.half,
        names=case.name,
        methods=methods,
        every=every,
        out=out,
        model="emoji",
        kinds="",
        shard="0/1",
        most=None,
        threads=1,
    )


def result_file(arguments: argparse.Namespace, spec: str, case: Case) -> Path:
    """Where `run` stores the marks of a method on a case."""
    folder = arguments.out / folder_name(arguments) / folder_of(spec)
    return folder / f"{case.name.replace(' ', '-')}.json"


def folder_name(arguments: argparse.Namespace) -> str:
    return arguments.model if arguments.every == 1 else f"{arguments.model}-every-{arguments.every}"


def folder_of(spec: str) -> str:
    return spec.replace(":", "-").replace("=", "")


def table(arguments: argparse.Namespace) -> None:
    """Print the distribution over pairs of every method that has results."""
    by_name = {
        case.name.replace(" ", "-"): case
        for case in draw_cases()
        if arguments.half in ("both", case.half)
    }
    for folder in sorted((arguments.out / folder_name(arguments)).iterdir()):
        if arguments.methods and folder.name not in [folder_of(m) for m in arguments.methods]:
            continue
        figures = {}
        for file in sorted(folder.glob("*.json")):
            case = by_name.get(file.stem)
            if case and (not arguments.kinds or case.kind in arguments.kinds.split(",")):
                figures[case.name] = summary(case, json.loads(file.read_text())["images"])
        if not figures:
            continue
        print(f"\n{folder.name}: {len(figures)} cases")
        for line in distribution(figures):
            print(line)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=["run", "table", "cases"])
    parser.add_argument("--half", choices=["tuning", "reporting", "both"], default="tuning")
    parser.add_argument(
        "--methods",
        nargs="+",
        default=[],
        help="names, or names with settings: all-but-one:closed.lam=30,start=none",
    )
    parser.add_argument("--model", choices=list(SAMPLING), default="emoji")
    parser.add_argument(
        "--kinds", default="", help="near, far, style, category, alone; all where none is named"
    )
    parser.add_argument("--shard", default="0/1", help="i/n: every n-th case from the i-th on")
    parser.add_argument("--most", type=int, default=None, help="stop after this many cases")
    parser.add_argument(
        "--every", type=int, default=1, help="sample only every n-th prompt: a quick check"
    )
    parser.add_argument("--names", default="", help="only these cases: pig=lemon,weapon=house")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS / "pairs")
    arguments = parser.parse_args()
    if arguments.command == "cases":
        for case in draw_cases():
            print(f"{case.half:10} {case.kind:9} {case.name}")
    elif arguments.command == "table":
        table(arguments)
    else:
        run(arguments)


if __name__ == "__main__":
    main()
