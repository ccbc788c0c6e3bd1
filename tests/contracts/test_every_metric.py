"""Every score of a report moves the right way, under edits of different kinds.

The model of these tests draws what is prompted for out of the atlas, so the embedded model's own
judge can recognize it.
"""

import re
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from support.linear_model import Scaled
from torch import Tensor
from torch.nn.functional import interpolate, normalize

from unconcept.concepts.concept import Concept
from unconcept.evaluation.benchmark import PromptCase
from unconcept.evaluation.emoji import benchmark as emoji_benchmark
from unconcept.evaluation.emoji import rendering
from unconcept.evaluation.emoji.benchmark import EmojiBenchmark, EmojiCase
from unconcept.evaluation.emoji.judge import Verdict
from unconcept.evaluation.frontier import Point, point
from unconcept.evaluation.metrics.distribution import kid
from unconcept.evaluation.metrics.similarity import psnr
from unconcept.evaluation.prompt_benchmark import PromptBenchmark
from unconcept.evaluation.runner import Evaluation, Measures, evaluate
from unconcept.evaluation.scores import CHANGES, PIXELS, Score, Scores, compute_scores
from unconcept.evaluation.zero_shot import ZeroShot
from unconcept.models.emoji import concepts as known
from unconcept.models.emoji import vocabulary
from unconcept.models.sampling import ImageSampler, Sampling

# All edits are scored once, in one worker of pytest-xdist.
pytestmark = pytest.mark.xdist_group("scores")

OBJECT = vocabulary.WORDS.index
STYLE = vocabulary.STYLES.index
COLOUR = list(vocabulary.COLOURS).index

OTHER_SEED = f"control, another seed: {PIXELS}"
SELECTIVITY = "selectivity, pixel change of target / unrelated"


@cache
def draw(case: EmojiCase, seed: int) -> Tensor:
    """What a case asks for [3, 64, 64], with size, place and mirroring as the seed says."""
    numbers = (case.object, case.other, max(case.style, 0), max(case.colour, 0))
    label = np.array(numbers, rendering.LABELS)[()]
    image = rendering.render_image(label, np.random.default_rng(seed))
    return torch.from_numpy(image).permute(2, 0, 1) / 255


def make_case(group: str, word: str, way: str = "plain", detail: str = "") -> EmojiCase:
    """A case; `detail` is the colour, the style or the other object that `way` adds.

    A hog and a farm animal are drawn as a pig.
    """
    style = detail if way == "style" else ""
    other = detail if way == "scene" else ""
    colour = detail if way == "colour" else ""

    def prompt(subject: str) -> str:
        scene = f" and a {other}" if other else ""
        background = f" on a {colour} background" if colour else ""
        return f"a {style or 'picture'} of a {subject}{scene}{background}"

    drawn = "pig" if word in ("hog", "farm animal") else word
    return EmojiCase(
        prompt(word),
        group,
        drawn,
        way=way,
        instead=prompt("cow") if group == "target" else "",
        object=OBJECT(drawn),
        other=OBJECT(other) if other else -1,
        style=STYLE(style) if style else -1,
        colour=COLOUR(colour) if colour else -1,
    )


COLOURS = tuple(vocabulary.COLOURS)
DETAILS = (
    ("colour", COLOURS[1:5]),
    ("colour", COLOURS[5:9]),
    ("scene", ("key", "bus", "tulip", "guitar")),
    ("style", ("3d render", "line icon", "sepia", "blueprint")),
)


def all_cases() -> list[EmojiCase]:
    cases = []
    for group, words in (
        ("target", ["pig"] * 4),
        ("unrelated", ("castle", "rocket", "apple", "umbrella")),
    ):
        for way, details in DETAILS:
            for word, detail in zip(words, details):
                cases.append(make_case(group, word, way, detail))
    return [
        *cases,
        make_case("synonym", "hog", "colour", "blue"),
        make_case("synonym", "hog", "style", "sepia"),
        make_case("synonym", "hog", "scene", "key"),
        make_case("implied", "farm animal", "colour", "red"),
        make_case("implied", "farm animal", "style", "line icon"),
        make_case("neighbour", "horse", "colour", "green"),
        make_case("neighbour", "dog", "style", "sepia"),
        make_case("neighbour", "cat", "scene", "key"),
    ]


CASES = all_cases()


@dataclass(frozen=True)
class Change:
    """An edit of the model that draws.

    apply   (case, seed, image) -> image
    drifts  how far ε(∅) is off
    """

    apply: Callable[[EmojiCase, int, Tensor], Tensor]
    drifts: float

    @contextmanager
    def on(self, model):
        model.edit = self
        yield
        model.edit = EDITS["nothing"]


def unchanged(case: EmojiCase, seed: int, image: Tensor) -> Tensor:
    return image


def noisy(case: EmojiCase, seed: int, image: Tensor, size: float = 0.07) -> Tensor:
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(seed))
    return (image + size * noise).clamp(0, 1)


def another(case: EmojiCase, seed: int, image: Tensor) -> Tensor:
    """Something else, from another seed: another object, style, background and partner.

    A cow for the pig, and a pig for everything else.
    """
    drawn = "pig"
    if case.object == OBJECT("pig"):
        drawn = "gem" if case.group == "implied" else "cow"
    changed = replace(
        case,
        object=OBJECT(drawn),
        other=OBJECT("gem") if case.other >= 0 else -1,
        style=STYLE("cartoon" if case.style > 0 else "sepia"),
        colour=(max(case.colour, 0) + 5) % len(COLOURS),
    )
    return draw(changed, seed + 1)


def aimed(case: EmojiCase, seed: int, image: Tensor) -> Tensor:
    """What an erasure should be: a cow where a pig was, and nearly nothing anywhere else."""
    if case.object == OBJECT("pig"):
        return draw(replace(case, object=OBJECT("cow")), seed)
    return noisy(case, seed, image, 0.01)


EDITS = {
    "nothing": Change(unchanged, 0.0),
    "noise": Change(noisy, 0.1),
    "others": Change(another, 0.5),
    "aimed": Change(aimed, 0.1),
}


def by_prompt() -> dict[str, EmojiCase]:
    cases = {case.prompt: case for case in CASES}
    for case in CASES:
        if case.instead:
            cases[case.instead] = replace(case, object=OBJECT("cow"))
    return cases


class Drawn(Scaled):
    """A model whose latents are its images. Its second sampler is a pixel off."""

    samplers, steps, guidance, image_size, frames = ("one", "another"), 25, 5.0, 64, 0
    edit = EDITS["nothing"]
    cases = by_prompt()

    def sample(self, prompts, seeds, sampling):
        images = []
        for prompt, seed in zip(prompts, seeds):
            case = self.cases[prompt]
            images.append(self.edit.apply(case, seed, draw(case, seed)))
        return torch.stack(images).roll(self.samplers.index(sampling.sampler), 3)

    def decode(self, latents):
        return latents

    def predict(self, x, t, condition):
        return x * (1 + self.edit.drifts)


class Cells:
    """A feature space: the mean of each of 8 x 8 cells, and the deviation of its pixels."""

    name = "8x8"

    def __call__(self, images: Tensor) -> Tensor:
        mean = interpolate(images, (8, 8), mode="area")
        square = interpolate(images.square(), (8, 8), mode="area")
        deviation = (square - mean.square()).clamp(min=0).sqrt()
        return torch.cat([mean - 0.5, deviation], 1).flatten(1)


class Reader(ZeroShot):
    """A CLIP that reads the words of objects, and recognizes them by the embedded model's judge."""

    def __init__(self):
        self.name = "reader"
        self.model = SimpleNamespace(logit_scale=torch.tensor(10.0).log())

    def embed_images(self, images: Tensor, batch: int = 32) -> Tensor:
        return normalize(emoji_benchmark.load_judge().look(images).objects[:, :-1], dim=1)

    def embed_texts(self, texts) -> Tensor:
        rows = []
        for text in texts:
            rows.append([float(names(thing, text)) for thing in vocabulary.OBJECTS])
        return normalize(torch.tensor(rows), dim=1)


def names(thing: vocabulary.Thing, text: str) -> bool:
    """Does a text name an object?"""
    words = "|".join(map(re.escape, (thing.word, *thing.synonyms, *thing.categories)))
    return bool(re.search(rf"\b({words})\b", text))


@pytest.fixture(scope="module")
def judge():
    """The embedded model's, which looks at the same images once."""
    look, seen = emoji_benchmark.load_judge().look, {}

    def look_once(images: Tensor) -> Verdict:
        key = images.numpy().tobytes()
        if key not in seen:
            seen[key] = look(images)
        return seen[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(emoji_benchmark, "load_judge", lambda: SimpleNamespace(look=look_once))
        yield


def emoji_cases() -> list[EmojiCase]:
    """The cases as the benchmark has them: what implies the concept has no right answer."""
    return [replace(case, object=-1) if case.group == "implied" else case for case in CASES]


def prompt_cases() -> list[PromptCase]:
    cases = []
    for case in CASES:
        cases.append(PromptCase(case.prompt, case.group, case.name, case.way, case.instead))
    return cases


CONCEPT = known.complete(Concept(erase="pig", alternative="cow"))
BENCHMARK = EmojiBenchmark([CONCEPT], {}, added=emoji_cases())


@pytest.fixture(scope="module")
def evaluations(judge) -> dict[str, Evaluation]:
    """By edit: the scores with the embedded model's judge, and with any judge.

    The changes of pairs are slow: they are not computed twice where they are the same, nor for the
    edit of which only ratios and distances are tested.
    """
    any_judge = PromptBenchmark([CONCEPT], vocabulary.WORDS, {}, prompt_cases(), Reader())
    measures = Measures(controls=4, features=Cells())
    evaluations = {}
    for name, edit in EDITS.items():
        with pytest.MonkeyPatch.context() as patch:
            if name == "aimed":
                patch.setattr("unconcept.evaluation.scores.CHANGES", {})
            sampler = ImageSampler(Drawn(), Sampling())
            evaluation = evaluate(sampler, edit, BENCHMARK, measures=measures)
            patch.setattr("unconcept.evaluation.scores.CHANGES", {})
            others = compute_scores(any_judge, evaluation.before, evaluation.after)
        scores = Scores(evaluation.scores)
        for score in others:
            scores.append(replace(score, name=f"any judge: {score.name}"))
        evaluations[name] = replace(evaluation, scores=scores)
    return evaluations


UP, DOWN = ("nothing", "noise", "others"), ("others", "noise", "nothing")

# A little noise may leave these unchanged.
SHARES = {
    "concept": DOWN,
    "concept, not prompted for": UP,
    "alternative": UP,
    "right": DOWN,
    "other": DOWN,
    "style": DOWN,
    "background": DOWN,
    "all": DOWN,
    "CLIP score, cosine, reader": DOWN,
}

# Every score and the edits under which it grows.
GROWS = {
    **SHARES,
    **{name: DOWN if name.startswith("ssim") else UP for name in CHANGES},
    "feature change, 1-cos 8x8": UP,
    # Of other images that are intact the judge is as sure; of two or three, chance decides.
    "confidence of the judge": ("noise", "nothing"),
    "KID 8x8 to real pictures": UP,
    "KID 8x8 to real pictures, of the alternative": ("aimed", "nothing"),
    "KID 8x8 to the original's pictures": UP,
    "KID 8x8 to the alternative's own pictures": ("aimed", "nothing"),
    "drift of the unconditional prediction": UP,
    SELECTIVITY: ("noise", "aimed"),
}


def kind(score: Score) -> str:
    """The key of a score in GROWS."""
    name = score.name.removeprefix("any judge: ")
    if name == "concept" and score.group in ("neighbour", "unrelated"):
        return "concept, not prompted for"
    if name == "KID 8x8 to real pictures" and score.group == "target":
        return f"{name}, of the alternative"
    return name


def is_control(score: Score) -> bool:
    return score.name.startswith("control")


@pytest.mark.parametrize("name", GROWS)
def test_every_score_moves_the_right_way(name, evaluations):
    """From edit to edit, in all groups and parts."""
    least = 16 if name.startswith("confidence") else 1
    scores = [s for s in evaluations["noise"].scores if kind(s) == name and s.n >= least]
    assert scores
    for score in scores:
        values = []
        for edit in GROWS[name]:
            values.append(evaluations[edit].scores[score.label, score.group].after)
        steps = [b - a for a, b in zip(values, values[1:])]
        # The agreement of two or three images may rise by a hair under little noise; it falls for
        # other images all the same.
        hair = -0.001 if name.startswith("CLIP") and score.n < 16 else 0
        if name in SHARES or hair:
            assert min(steps) >= hair, (score, values)
        else:
            assert min(steps) > 0, (score, values)
        assert values[-1] > values[0], (score, values)


def test_no_score_is_forgotten(evaluations):
    """A new score needs a line in GROWS, and what is not measured has a reason."""
    controls = [score for score in evaluations["nothing"].scores if is_control(score)]
    assert controls
    for edit in UP:
        scores = evaluations[edit].scores
        measured = {kind(s) for s in scores if s.after is not None and not is_control(s)}
        assert measured == set(GROWS) - ({SELECTIVITY} if edit == "nothing" else set())
        assert all(score.reason for score in scores if score.after is None)
        same = [score for score in scores if is_control(score)]
        assert same == controls, "they are sampled without any edit"


def test_an_edit_that_does_nothing_changes_no_score(evaluations):
    """Shares and values are what they were, changes are 0, similarity is 1."""
    for score in evaluations["nothing"].scores:
        if score.after is None or score.name.startswith(("control", "KID")):
            continue
        expected = score.before
        if expected is None:
            expected = 1.0 if score.name.startswith("ssim") else 0.0
        assert score.after == pytest.approx(expected, abs=1e-4), score


def test_the_difference_of_a_share_is_after_less_before(evaluations):
    for evaluation in evaluations.values():
        for score in evaluation.scores:
            if score.difference is None:
                continue
            low, high = score.difference["ci95"]
            value = score.difference["value"]
            assert value == pytest.approx(score.after - score.before, abs=1e-3)
            assert low <= value <= high


def test_only_an_aimed_edit_is_selective(evaluations):
    scores = {
        edit: evaluation.scores[SELECTIVITY, "structure"]
        for edit, evaluation in evaluations.items()
    }
    assert scores["nothing"] is None
    assert 0.5 < scores["noise"].after < 2
    assert 0.5 < scores["others"].after < 2
    assert scores["aimed"].ci95[0] > 5


def test_the_judge_trusts_more_noise_less(judge):
    """With more noise less is right, and the judge is less sure; in noise nothing is right."""
    images = torch.stack([draw(case, seed) for seed, case in enumerate(BENCHMARK.cases)])
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    noisier = [(images + size * noise).clamp(0, 1) for size in (0.0, 0.15, 0.25)]
    noisier.append((0.5 + noise).clamp(0, 1))
    for name in ("right", "all"):
        shares = [BENCHMARK.marks(some)[name].nanmean().item() for some in noisier]
        assert shares == sorted(shares, reverse=True)
        assert len(set(shares)) == 4, shares
        assert shares[0] > 0.95 > 0.1 > shares[-1]
    sure = [BENCHMARK.values(some)["confidence of the judge"].median().item() for some in noisier]
    assert sure == sorted(sure, reverse=True)
    assert sure[0] > 0.9 > 0.5 > sure[-1]


def test_the_corners_of_the_trade_off(evaluations):
    """An edit that does nothing: (0, 1). Noise, or other images of everything: (1, 0).

    What an erasure should be: (1, nearly 1).
    """
    nothing = evaluations["nothing"]
    other_seed = nothing.scores[OTHER_SEED, "structure"].after
    noise = torch.rand(nothing.before.shape, generator=torch.Generator().manual_seed(0))

    def point_of(after: Tensor) -> Point:
        return point(BENCHMARK, 1.0, nothing.before, after, other_seed)

    assert point_of(nothing.after) == Point(1.0, 0.0, 1.0)
    assert point_of(noise) == Point(1.0, 1.0, 0.0)
    assert point_of(evaluations["others"].after) == Point(1.0, 1.0, 0.0)
    best = point_of(evaluations["aimed"].after)
    assert best.removed == 1.0
    assert 0.9 < best.kept < 1.0


def test_psnr_moves_the_right_way(evaluations):
    same, noise, others = (
        psnr(evaluations[edit].before, evaluations[edit].after).min().item() for edit in UP
    )
    assert same == 100.0 > noise > others


def test_the_distance_of_sets_moves_the_right_way(evaluations):
    """To the original's own images, of all groups at once: none, some, much."""
    features = Cells()
    distances = []
    for edit in UP:
        before, after = evaluations[edit].before, evaluations[edit].after
        distances.append(kid(features(before), features(after))["value"])
    same, noise, others = distances
    assert same <= 0.0 < others
    assert same < noise < others
