"""The evaluation as a sceptic would test it: no edit, a broken edit, the same seeds twice."""

import json
import math

import pytest
import torch

from unconcept import Concept, Edit
from unconcept.errors import InputError
from unconcept.evaluation.benchmark import read_prompts
from unconcept.evaluation.failure_detection import detect_failure
from unconcept.evaluation.prompt_benchmark import PromptBenchmark
from unconcept.evaluation.runner import BLOCK, Measures, evaluate, sampling_seeds
from unconcept.evaluation.scores import PIXELS, Score, Scores, compute_scores
from unconcept.evaluation.setup import undrawn_warnings
from unconcept.models.sampling import ImageSampler, Sampling

SAMPLING = Sampling(steps=2, guidance=2.0)
CONCEPT = Concept(erase="pig", alternative="cow")
OTHER_SEED = f"control, another seed: {PIXELS}"
DRIFT = "drift of the unconditional prediction"


def random_edit(model, size: float) -> Edit:
    torch.manual_seed(1)
    deltas = {}
    for site in model.weight_group("cross-attention"):
        weight = model.denoiser.get_parameter(site.name.removeprefix("unet."))
        deltas[site.name] = size * torch.randn_like(weight)
    return Edit(deltas, {"model_sha256": model.fingerprint()})


@pytest.fixture
def benchmark(model):
    return PromptBenchmark([CONCEPT], model.vocabulary, {"target": 6, "unrelated": 6})


def evaluated(model, size: float, benchmark, *, full=False, cache=None):
    sampler = ImageSampler(model, SAMPLING, cache)
    measures = Measures(controls=4, full=full)
    return evaluate(sampler, random_edit(model, size), benchmark, measures=measures)


def test_an_edit_of_zeros_changes_nothing(model, benchmark):
    evaluation = evaluated(model, 0.0, benchmark)
    scores = evaluation.scores
    assert torch.equal(evaluation.before, evaluation.after)
    assert scores[PIXELS, "target"].after == 0.0
    assert scores["ssim, gaussian 11", "target"].after == 1.0
    assert scores[OTHER_SEED, "structure"].after > 0
    failure = detect_failure(scores, evaluation.before, evaluation.after)
    assert failure.startswith("no-op")


def test_a_ratio_over_nothing_is_not_measured(model, benchmark):
    scores = evaluated(model, 0.0, benchmark).scores
    score = next(score for score in scores if score.name.startswith("selectivity"))
    assert score.after is None
    assert "did not change" in score.reason


def test_what_is_not_measured_is_null_with_a_reason(model, benchmark):
    scores = evaluated(model, 0.1, benchmark, full=True).scores
    missing = [score for score in scores if score.name.startswith("KID")]
    assert missing
    assert all(score.after is None and "evaluate" in score.reason for score in missing)
    assert json.dumps(scores.to_json(), allow_nan=False)


def test_drift_follows_the_edit(model, benchmark):
    drifts = []
    for size in (0, 0.1, 0.5):
        scores = evaluated(model, size, benchmark, full=True).scores
        drifts.append(scores[DRIFT, "structure"].after)
    none, some, much = drifts
    assert none == 0.0 < some < much


def test_the_control_of_samplers_uses_another_sampler(model, benchmark):
    """Also where the run itself samples with the family's second sampler."""
    for name in model.samplers[:2]:
        sampler = ImageSampler(model, Sampling(steps=2, guidance=2.0, sampler=name))
        scores = evaluate(
            sampler, random_edit(model, 0.1), benchmark, measures=Measures(controls=4)
        ).scores
        assert scores[f"control, another sampler: {PIXELS}", "structure"].after > 0, name


def test_broken_images_have_no_scores(model, tmp_path):
    """Images that are not finite show no concept, which is not an erasure: null, with a reason.

    The cache does not store them as black.
    """

    def judge(images, names):
        return torch.eye(len(names))[torch.zeros(len(images), dtype=torch.long)]

    n = {"target": 6, "unrelated": 6}
    benchmark = PromptBenchmark([CONCEPT], model.vocabulary, n, judge=judge)
    evaluation = evaluated(model, math.nan, benchmark, cache=tmp_path)
    failure = detect_failure(evaluation.scores, evaluation.before, evaluation.after)
    assert failure.startswith("collapse")
    measured = [score for score in evaluation.scores if score.after is not None]
    assert all(score.name.startswith("control") for score in measured), measured
    assert json.dumps(evaluation.scores.to_json(), allow_nan=False)
    again = evaluated(model, math.nan, benchmark, cache=tmp_path)
    assert again.after.isnan().all(), "a second evaluation sees the same"


def score(name, group, before, after, part=""):
    return Score(name, group, before, after, 50, [after, after], None, part=part)


def test_an_edit_that_does_nothing_where_no_judge_saw_anything():
    """A concept that was never there cannot have been erased: then the pixels decide."""
    torch.manual_seed(0)
    still = Scores(
        [
            score("concept", "target", 0.0, 0.0),
            score(PIXELS, "target", None, 0.001),
            score(OTHER_SEED, "structure", None, 0.2),
        ]
    )
    failure = detect_failure(still, torch.rand(8, 3, 16, 16), torch.rand(8, 3, 16, 16))
    assert failure.startswith("no-op")


DEEP = "feature change, 1-cos EffLite0"


@pytest.mark.parametrize(
    ("target", "unrelated", "kid", "failure"),
    [
        (0.3, 0.02, None, None),
        (0.01, 0.001, None, "no-op"),
        (0.05, 0.06, None, "over-erasure: unrelated images changed more"),
        (0.5, 0.41, None, "over-erasure: unrelated images changed as much as by another seed"),
        (0.3, 0.02, (0.2, 0.1), None),
        (0.3, 0.02, (0.2, 0.2), "alternative ignored"),
    ],
)
def test_without_a_judge_deep_features_decide(target, unrelated, kid, failure):
    """Though the pixels say the opposite: a new background in every unrelated image."""
    scores = [
        score(PIXELS, "target", None, 0.01),
        score(PIXELS, "unrelated", None, 0.3),
        score(OTHER_SEED, "structure", None, 0.2),
        score(DEEP, "target", None, target),
        score(DEEP, "unrelated", None, unrelated),
        score(f"control, another seed: {DEEP}", "structure", None, 0.4),
    ]
    if kid:
        scores.append(score("KID EffLite0 to the alternative's own pictures", "target", *kid))
    torch.manual_seed(0)
    detected = detect_failure(Scores(scores), torch.rand(8, 3, 16, 16), torch.rand(8, 3, 16, 16))
    assert detected is None if failure is None else detected.startswith(failure)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (
            torch.rand(8, 3, 16, 16),
            torch.rand(8, 3, 1, 1).expand(8, 3, 16, 16),
            "blank or all alike",
        ),
        (
            torch.rand(8, 3, 16, 16),
            torch.rand(1, 3, 16, 16).expand(8, 3, 16, 16),
            "blank or all alike",
        ),
        (torch.rand(8, 3, 16, 16), torch.full((8, 3, 16, 16), math.nan), "not finite"),
    ],
)
def test_collapse(before, after, message):
    assert message in detect_failure(Scores(), before, after)


@pytest.mark.parametrize(
    ("scores", "failure"),
    [
        ([score("concept", "target", 0.9, 0.6)], "no-op: the concept"),
        (
            [
                score("concept", "target", 0.9, 0.3),
                score("concept", "target", 0.9, 0.0, "pig"),
                score("concept", "target", 0.9, 0.9, "fox"),
            ],
            "no-op: fox",
        ),
        (
            [
                score("concept", "target", 0.9, 0.3),
                score("concept", "target", 0.9, 0.9, "scene"),
                score("right", "unrelated", 0.9, 0.9),
            ],
            None,
        ),
        (
            [score("concept", "target", 0.9, 0.0), score("right", "unrelated", 0.9, 0.3)],
            "collapse",
        ),
        (
            [
                score("concept", "target", 0.9, 0.0),
                score(PIXELS, "target", None, 0.1),
                score(PIXELS, "unrelated", None, 0.2),
            ],
            "over-erasure",
        ),
        (
            [score("concept", "target", 0.9, 0.0), score("alternative", "target", 0.0, 0.1)],
            "alternative ignored",
        ),
        (
            [
                score("concept", "target", 0.9, 0.0),
                score("alternative", "target", 0.0, 0.9),
                score("right", "unrelated", 0.9, 0.9),
            ],
            None,
        ),
    ],
)
def test_detectors(scores, failure):
    torch.manual_seed(0)
    before, after = torch.rand(8, 3, 16, 16), torch.rand(8, 3, 16, 16)
    detected = detect_failure(Scores(scores), before, after)
    assert detected is None if failure is None else detected.startswith(failure)


def test_own_prompts(tmp_path):
    file = tmp_path / "own.csv"
    file.write_text('prompt,seed,group\na pig at dawn,7,\n"a dog, a cat",,unrelated\n')
    first, second = read_prompts(file)
    assert (first.prompt, first.seed, first.group) == ("a pig at dawn", 7, "target")
    assert (second.prompt, second.seed, second.group) == ("a dog, a cat", None, "unrelated")
    for text, message in (
        ("words\nx\n", "column names"),
        ("prompt,group\nx,nobody\n", "line 2"),
        ("prompt,seed\nx,y\n", "not a whole number"),
    ):
        file.write_text(text)
        with pytest.raises(InputError, match=message):
            read_prompts(file)


def test_no_image_shares_its_noise_with_a_training(benchmark):
    """Nor with a control or the images of the alternative: all noise is new."""
    trainings = {s + r for s in range(100) for r in (*range(64), *range(500_000, 500_064))}
    for seed in range(3):
        seeds = set(sampling_seeds(benchmark, seed))
        controls = {s + BLOCK // 4 for s in seeds}
        assert min(seeds) >= BLOCK > max(trainings)
        assert not seeds & controls
        assert not (seeds | controls) & set(sampling_seeds(benchmark, seed + 1))


def test_several_concepts_have_scores_of_their_own():
    pig, fox = Concept(erase="pig", alternative="cow"), Concept(erase="fox", alternative="wolf")
    animals = ["pig", "cow", "fox", "wolf"]

    def judge(images, names):
        seen = images[:, 0, 0, 0]
        return torch.stack([seen == animals.index(name) for name in names], 1).float()

    def painted(words):
        values = torch.tensor([float(animals.index(word)) for word in words])
        return values.view(-1, 1, 1, 1).expand(-1, 3, 8, 8)

    benchmark = PromptBenchmark([pig, fox], (), {"target": 8}, judge=judge)
    names = [case.name for case in benchmark.cases]
    after = ["cow" if name == "pig" else name for name in names]
    scores = compute_scores(benchmark, painted(names), painted(after))
    labels = ("concept", "concept: pig", "concept: fox", "alternative: pig")
    values = {label: scores[label, "target"].after for label in labels}
    assert values == {
        "concept": names.count("fox") / 8,
        "concept: pig": 0.0,
        "concept: fox": 1.0,
        "alternative: pig": 1.0,
    }
    parts = {(score.name, score.part) for score in scores if score.group == "target"}
    assert parts >= {("concept", ""), ("concept", "pig"), ("concept", "fox"), ("concept", "plain")}


@pytest.mark.parametrize("seen", ["cow", "pig"])
def test_a_concept_that_is_hardly_drawn_is_a_warning(seen):
    def judge(images, names):
        return torch.tensor([[name == seen for name in names]]).float().expand(len(images), -1)

    benchmark = PromptBenchmark([CONCEPT], (), {"target": 4}, judge=judge)
    warning = 'the model hardly draws "pig": the judge finds it in 0% of 4 images'
    expected = [warning] if seen == "cow" else []
    assert undrawn_warnings(benchmark, torch.rand(4, 3, 8, 8)) == expected


def test_the_row_of_a_score():
    """The keys of report.json, schema 1, in their order."""
    keys = ["name", "group", "before", "after", "n", "ci95", "better"]
    share = Score(
        "concept", "target", 0.9, 0.1, 50, [0.0, 0.2], "lower", {"value": -0.8}, None, "pig"
    )
    assert list(share.to_json()) == [*keys, "difference"]
    assert share.to_json()["name"] == "concept: pig"
    unmeasured = Score("KID", "target", None, None, 0, None, "lower", reason="too few images")
    assert list(unmeasured.to_json()) == [*keys, "reason"]
    scores = Scores([unmeasured, share])
    assert scores["concept: pig", "target"] is share
    assert scores["KID", "target"] is None, "it was not measured"
    assert scores["concept", "target"] is None
    assert scores[0] is unmeasured
