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
import hashlib
import json
import math
import random
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from common import RESULTS, once
from torch import Tensor

from unconcept import Concept, load
from unconcept.cli.run_config import settings_for_model
from unconcept.concepts.templates import article
from unconcept.config.overrides import override
from unconcept.edits.edit import Edit
from unconcept.evaluation.emoji.benchmark import EmojiBenchmark, EmojiCase
from unconcept.evaluation.features import features_or_none
from unconcept.models import Model
from unconcept.models.emoji.concepts import completed, near_in_words
from unconcept.models.emoji.vocabulary import (
    CATEGORIES,
    COLOURFUL,
    OBJECTS,
    STYLES,
    WORDS,
    Thing,
    find,
    members,
    neighbours,
)
from unconcept.models.image_cache import cache_folder, file_name
from unconcept.models.sampling import ImageSampler, Sampling
from unconcept.profiling.usage import count_calls

SEED = 20261130
SAMPLING = {"emoji": ("dpm-solver++", 10), "emoji-flow": ("euler", 10)}
CONCEPT_PROMPTS, SYNONYM_PROMPTS, NEIGHBOURS, PROMPTS_PER_NEIGHBOUR, UNRELATED_PROMPTS = (
    30,
    10,
    6,
    7,
    20,
)
FIRST_SEED = 3 * 10**12  # far from the seeds of trainings and of `unconcept evaluate`

# Concepts that settings were chosen on, or that an earlier page reports: only in the tuning half.
USED_BEFORE = (
    "pig", "castle", "guitar", "rose", "bus", "cat", "unicorn", "television", "basketball",
    "panda", "key", "wolf", "bee", "watermelon", "truck", "fox", "watercolor", "neon", "weapon",
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One erasure of the benchmark. kind: near, far, style, category or alone (no alternative)."""

    erase: str
    alternative: str | None
    kind: str
    half: str

    @property
    def name(self) -> str:
        return self.erase if self.alternative is None else f"{self.erase}={self.alternative}"

    def concept(self) -> Concept:
        """The concept with everything that the world of the embedded model knows about it."""
        style = self.erase in STYLES
        concept = Concept(
            erase=self.erase, alternative=self.alternative, kind="style" if style else "object"
        )
        return completed([concept])[0]


def draw_cases() -> list[Case]:
    """All 80 cases, the same in every process."""
    rng = random.Random(SEED)
    fresh = [word for word in WORDS if word not in USED_BEFORE]
    used = [word for word in WORDS if word in USED_BEFORE]
    rng.shuffle(fresh)
    rng.shuffle(used)
    halves = {"reporting": fresh[:30], "tuning": [*used, *fresh[30:]][:30]}
    cases = []
    for half, words in halves.items():
        for i, word in enumerate(words):
            kind = "near" if i % 2 == 0 else "far"
            cases.append(Case(word, draw_alternative(rng, word, kind), kind, half))

    styles = list(STYLES[2:])
    fresh_pairs = [(a, b) for a in styles for b in styles if a != b and a not in USED_BEFORE]
    used_pairs = [(a, b) for a in styles for b in styles if a != b and a in USED_BEFORE]
    rng.shuffle(fresh_pairs)
    rng.shuffle(used_pairs)
    first_fresh = one_of_each(fresh_pairs)
    for half, pairs in (
        ("reporting", first_fresh[:5]),
        ("tuning", [*used_pairs[:3], *first_fresh[5:]]),
    ):
        for erase, alternative in pairs:
            cases.append(Case(erase, alternative, "style", half))

    categories = [
        category
        for category in CATEGORIES
        if len(members(category)) > 1 and category not in USED_BEFORE
    ]
    rng.shuffle(categories)
    for half, names in (("reporting", categories[:3]), ("tuning", ["weapon", categories[3]])):
        for name in names:
            outside = [thing.word for thing in OBJECTS if name not in thing.categories]
            cases.append(Case(name, rng.choice(outside), "category", half))

    alone = {"reporting": [*fresh[-2:], first_fresh[0][0]], "tuning": [fresh[-3], "watercolor"]}
    for half, names in alone.items():
        for name in names:
            cases.append(Case(name, None, "alone", half))
    return cases


def draw_alternative(rng: random.Random, word: str, kind: str) -> str:
    """A near alternative is one of the six nearest objects; a far one shares no category and is not
    near.
    """
    thing = next(t for t in OBJECTS if t.word == word)
    near = neighbours((thing,))
    if kind == "near":
        return rng.choice(near).word
    far = [
        t
        for t in OBJECTS
        if t != thing and t not in near and not set(t.categories) & set(thing.categories)
    ]
    return rng.choice(far).word


def one_of_each(pairs: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """The first pair of every erased style."""
    first: dict[str, tuple[str, str]] = {}
    for pair in pairs:
        first.setdefault(pair[0], pair)
    return list(first.values())


class PromptPool:
    """Prompts about one object or style, in an order that depends on its name alone, so that cases
    share their images.
    """

    def __init__(self, word: str, purpose: str, style: bool = False):
        digest = hashlib.sha256(f"{SEED} {word} {purpose}".encode()).digest()
        self.word, self.style = word, style
        self.exam = EmojiBenchmark((), {}, int.from_bytes(digest[:4], "little"))
        self.purpose = purpose

    def questions(
        self, n: int, avoid: Sequence[Thing], group: str, name: str, words: Sequence[str] = ()
    ) -> list[EmojiCase]:
        """`n` questions that show none of the objects `avoid` beside it. words: names of the
        object, used in turn.
        """
        chosen: list[EmojiCase] = []
        taken: set[tuple[str, int]] = set()
        avoided = {OBJECTS.index(thing) for thing in avoid}
        i = 0
        while len(chosen) < n:
            thing = (
                self.exam.choose(OBJECTS)
                if self.style
                else next(t for t in OBJECTS if t.word == self.word)
            )
            word = None if self.style or not words else words[i % len(words)]
            way = (0, 1, 2, 3)[i % 4] if not self.style else (0, 1, 3)[i % 3]
            question = self.exam.ask(
                thing, group, name, word=word, style=self.word if self.style else None, way=way
            )
            repeat = sum(prompt == question.prompt for prompt, _ in taken)
            taken.add((question.prompt, repeat))
            i += 1
            if question.other in avoided or (self.style and question.object in avoided):
                continue
            chosen.append(replace(question, seed=seed_of(question.prompt, repeat)))
        return chosen


def seed_of(prompt: str, repeat: int) -> int:
    """The seed of the images of a prompt, the same in every case."""
    digest = hashlib.sha256(f"{SEED} {prompt} {repeat}".encode()).digest()
    return FIRST_SEED + int.from_bytes(digest[:5], "little")


def build_exam(model: Model, case: Case) -> EmojiBenchmark:
    """The questions of a case, with the marks of the embedded judge."""
    concept = case.concept()
    own = erased_things(concept)
    alternative = [t for t in (find(case.alternative or ""),) if t]
    avoid = [*own, *alternative]
    questions = [*target_questions(case, concept, own, avoid)]
    if concept.kind == "style":
        others = [style for style in STYLES[2:] if style != case.erase]
        order = random.Random(f"{SEED} {case.erase}")
        near = (
            [case.alternative, *order.sample(others, len(others))]
            if case.alternative
            else order.sample(others, len(others))
        )
        for style in list(dict.fromkeys(near))[:NEIGHBOURS]:
            pool = PromptPool(style, "neighbour", style=True)
            questions += pool.questions(PROMPTS_PER_NEIGHBOUR, avoid, "neighbour", style)
        near_things: list[Thing] = []
    else:
        near_things = nearest_objects(model, concept, own)
        for thing in near_things[:NEIGHBOURS]:
            pool = PromptPool(thing.word, "neighbour")
            questions += pool.questions(PROMPTS_PER_NEIGHBOUR, own, "neighbour", thing.word)
    far = [t for t in OBJECTS if t not in own and t not in alternative and t not in near_things]
    order = random.Random(f"{SEED} unrelated")
    order.shuffle(far)
    for thing in far[:UNRELATED_PROMPTS]:
        pool = PromptPool(thing.word, "neighbour")
        drawn = pool.questions(PROMPTS_PER_NEIGHBOUR, own, "unrelated", thing.word)
        unstyled = [q for q in drawn if q.style < 0 or STYLES[q.style] != case.erase]
        questions.append(unstyled[order.randrange(len(unstyled))])
    questions = [
        q for q in questions if q.group in ("target", "synonym") or not names(q.prompt, concept)
    ]
    return EmojiBenchmark((concept,), {}, own=questions)


def names(prompt: str, concept: Concept) -> bool:
    """Does a prompt name the concept?"""
    padded = f" {prompt.replace(',', ' ')} "
    return any(f" {name} " in padded for name in (concept.erase, *concept.synonyms))


def erased_things(concept: Concept) -> list[Thing]:
    if concept.kind == "style":
        return []
    return (
        list(members(concept.erase))
        if concept.erase in CATEGORIES
        else [t for t in (find(concept.erase),) if t]
    )


def nearest_objects(model: Model, concept: Concept, own: Sequence[Thing]) -> list[Thing]:
    """Near objects by the text encoder, by the judge's confusions and by the table, in turn."""
    by_table = list(neighbours(tuple(own)))
    by_text = [
        find(word)
        for word in near_in_words(
            lambda prompts: model.encode(prompts)[model.prompt_states_key], (concept,), 2
        )
    ]
    by_judge = [t for t in EmojiBenchmark((concept,), {}).near(concept) if t not in by_table]
    mixed: list[Thing] = []
    for rank in range(NEIGHBOURS):
        for source in (by_table, by_text, by_judge):
            thing = source[rank] if rank < len(source) else None
            if thing is not None and thing not in (*own, *mixed):
                mixed.append(thing)
    return mixed


def target_questions(
    case: Case, concept: Concept, own: Sequence[Thing], avoid: Sequence[Thing]
) -> Iterator[EmojiCase]:
    """Prompts that name the concept, and prompts that name a synonym."""
    if concept.kind == "style":
        drawn = PromptPool(case.erase, "target", style=True).questions(
            CONCEPT_PROMPTS + SYNONYM_PROMPTS, avoid, "target", case.erase
        )
    else:
        drawn = []
        each = -(-CONCEPT_PROMPTS // len(own))
        for thing in own:
            words = (case.erase, thing.word) if case.erase in CATEGORIES else (thing.word,)
            drawn += PromptPool(thing.word, "target").questions(
                each, avoid, "target", case.erase, words
            )
        drawn = drawn[:: max(1, len(drawn) // CONCEPT_PROMPTS)][:CONCEPT_PROMPTS]
        named = [thing for thing in own if thing.synonyms]
        each = -(-SYNONYM_PROMPTS // max(1, len(named)))
        for thing in named:
            pool = PromptPool(thing.word, "synonym")
            drawn += pool.questions(each, avoid, "synonym", case.erase, thing.synonyms)[:each]
    for question in drawn[: CONCEPT_PROMPTS + SYNONYM_PROMPTS]:
        yield replace(question, instead=outright_prompt(question, concept))


def outright_prompt(question: EmojiCase, concept: Concept) -> str:
    """The same prompt with the alternative in the concept's place; without an alternative, "".

    A style without coloured backgrounds is asked for without one.
    """
    if concept.alternative is None:
        return ""
    name = max((n for n in (concept.erase, *concept.synonyms) if n in question.prompt), key=len)
    words, other = (
        (article(name), article(concept.alternative))
        if concept.kind == "object"
        else (name, concept.alternative)
    )
    if article(name) in question.prompt:
        words, other = article(name), article(concept.alternative)
    prompt = question.prompt.replace(words, other, 1)
    if concept.kind == "style" and concept.alternative not in COLOURFUL:
        prompt = prompt.partition(" on a")[0]
    return prompt


def sample(model: Model, prompts: Sequence[str], seeds: Sequence[int], cached: bool) -> Tensor:
    """Images [N, 3, H, W] in [0, 1]; those of the untouched model are read from the cache where
    they are there.
    """
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


def thinned(exam: EmojiBenchmark, every: int) -> EmojiBenchmark:
    """Every so-manyth question of each word, for a quick look while settings are chosen."""
    chosen = []
    for group in dict.fromkeys((q.group, q.name) for q in exam.cases):
        chosen += [q for q in exam.cases if (q.group, q.name) == group][::every]
    if every > 1:
        unrelated = [q for q in chosen if q.group == "unrelated"]
        chosen = [q for q in chosen if q.group != "unrelated"] + unrelated[::every]
    return EmojiBenchmark(exam.concepts, {}, own=chosen)


def measure(model: Model, case: Case, edit: Edit, exam: EmojiBenchmark) -> dict:
    """Per-image marks of a case: what the edited model draws, and what the untouched one draws."""
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


def summary(case: Case, images: Sequence[dict]) -> dict[str, float | None]:
    """The figures of one case.

    Shares of images; `alternative` is relative to what the untouched model reaches.
    """
    erased = [row for row in images if row["group"] in ("target", "synonym")]
    result: dict[str, float | None] = {"left": share(erased, "concept"), "n": len(erased)}
    if case.alternative:
        outright = share(erased, "outright")
        result["alternative"], result["outright"] = share(erased, "alternative"), outright
        result["reached"] = share(erased, "alternative") / outright if outright else None
        result["broken"] = statistics.mean(is_broken(row, erased) for row in erased)
    for group in ("neighbour", "unrelated"):
        rows = [row for row in images if row["group"] == group]
        right_before = [row for row in rows if row["right before"] == 1]
        result[f"{group} kept"] = share(right_before, "right")
        result[f"{group} moved"] = statistics.median(row["moved"] for row in rows)
    scenes = [row for row in erased if row["other"] is not None]
    result["other kept"] = share(scenes, "other") if scenes else None
    return result


def share(rows: Sequence[dict], mark: str) -> float:
    values = [row[mark] for row in rows if row.get(mark) is not None]
    return sum(values) / len(values) if values else math.nan


def is_broken(row: dict, erased: Sequence[dict]) -> bool:
    """Neither the concept nor the alternative is seen where the untouched model shows the
    alternative, and the image is farther from all images of the alternative than 95 % of those are
    from each other.
    """
    if row["concept"] or row["alternative"] or not row.get("outright"):
        return False
    usual = sorted(r["outright distance"] for r in erased if "outright distance" in r)
    return not usual or row["feature distance"] > usual[int(0.95 * (len(usual) - 1))]


def passes(figures: dict) -> bool:
    """The bar of one pair: left <= 2 %, alternative >= 90 % of outright, neighbours >= .98, no
    broken images.
    """
    reached = figures.get("reached")
    return (
        figures["left"] <= 0.02
        and (reached is None or reached >= 0.9)
        and figures["neighbour kept"] >= 0.98
        and figures.get("broken", 0.0) <= 0.05
    )


def method_of(spec: str, model: str) -> Any:
    """A method by its name, or with settings: "all-but-one:strength=3,tune.steps=0"."""
    name, _, rest = spec.partition(":")
    settings: dict = {}
    for entry in filter(None, rest.split(",")):
        key, _, value = entry.partition("=")
        *path, last = key.split(".")
        place = settings
        for part in path:
            place = place.setdefault(part, {})
        place[last] = json.loads(value) if value[0] in "-.0123456789tfn[" else value
    return override(settings_for_model(name, model), settings, spec)


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

            file = arguments.out / folder_name(arguments) / folder_of(spec) / f"{case.name}.json"
            result = once(file, make)
            if result:
                figures = summary(case, result["images"])
                print(
                    case.name,
                    spec,
                    {key: None if v is None else round(v, 3) for key, v in figures.items()},
                    flush=True,
                )


def spread(cases: Sequence[Case]) -> list[Case]:
    """The cases in an order in which every beginning holds all kinds."""
    order = sorted(
        cases, key=lambda case: hashlib.sha256(f"{SEED} {case.name}".encode()).hexdigest()
    )
    kinds = list(dict.fromkeys(case.kind for case in order))
    mixed = []
    while order:
        for kind in (*kinds, "near", "far", "near", "far"):
            first = next((case for case in order if case.kind == kind), None)
            if first:
                mixed.append(first)
                order.remove(first)
    return mixed


def folder_name(arguments: argparse.Namespace) -> str:
    return arguments.model if arguments.every == 1 else f"{arguments.model}-every-{arguments.every}"


def folder_of(spec: str) -> str:
    return spec.replace(":", "-").replace("=", "")


COLUMNS = (
    "left",
    "reached",
    "broken",
    "neighbour kept",
    "unrelated kept",
    "neighbour moved",
    "unrelated moved",
    "other kept",
)


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


def distribution(figures: dict[str, dict]) -> Iterator[str]:
    """Lines about the cases of one method: shares of pairs that hold, medians, worst pairs."""
    rows = list(figures.values())
    with_alternative = [row for row in rows if row.get("reached") is not None]
    yield f"  all bars held      {holds(rows, passes)}"
    yield f"  left <= 2 %        {holds(rows, lambda r: r['left'] <= 0.02)}"
    yield f"  alternative >= 90 % {holds(with_alternative, lambda r: r['reached'] >= 0.9)}"
    yield f"  no broken images   {holds(with_alternative, lambda r: r['broken'] <= 0.05)}"
    yield f"  neighbours >= .98  {holds(rows, lambda r: r['neighbour kept'] >= 0.98)}"
    for column in COLUMNS:
        ranked = sorted(
            (row[column], name) for name, row in figures.items() if row.get(column) is not None
        )
        if not ranked:
            continue
        if column in ("left", "broken", "neighbour moved", "unrelated moved"):
            ranked.reverse()
        worst = ", ".join(f"{name} {value:.3f}" for value, name in ranked[:4])
        yield f"  {column:16} median {statistics.median(v for v, _ in ranked):.4f}   worst {worst}"


def holds(rows: Sequence[dict], test: Any) -> str:
    return f"{sum(bool(test(row)) for row in rows)} of {len(rows)}"


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
    parser.add_argument("--most", type=int, default=None, help="stop after so many cases")
    parser.add_argument(
        "--every", type=int, default=1, help="ask every so-manyth question only: a quick look"
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
