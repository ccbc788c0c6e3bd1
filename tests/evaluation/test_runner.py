"""The evaluation as a sceptic would test it: no edit, a wrong edit, a broken edit, and the same seeds twice."""

import json
import math

import pytest
import torch

from unconcept import Concept, Edit
from unconcept.errors import InputError
from unconcept.evaluation.benchmark import read_prompts
from unconcept.evaluation.failure_detection import detect_failure
from unconcept.evaluation.prompt_benchmark import PromptBenchmark
from unconcept.evaluation.runner import BLOCK, evaluate, sampling_seeds
from unconcept.evaluation.scores import PIXELS, find_score, scores
from unconcept.evaluation.setup import undrawn_warnings
from unconcept.models.image_cache import sample_images

FAST = dict(steps=2, guidance=2.0, controls=4)
CONCEPT = Concept(erase="pig", alternative="cow")


def edit(model, size: float) -> Edit:
    torch.manual_seed(1)
    names = [site.name for site in model.weight_group("cross-attention")]
    weights = {name: model.denoiser.get_parameter(name.removeprefix("unet.")) for name in names}
    return Edit({name: size * torch.randn_like(w) for name, w in weights.items()}, {"model_sha256": model.fingerprint()})


@pytest.fixture
def exam(model):
    return PromptBenchmark([CONCEPT], model.vocabulary, {"target": 6, "unrelated": 6})


def test_no_edit_is_found_to_be_none(model, exam):
    found = evaluate(model, edit(model, 0.0), exam, full=False, **FAST)
    assert torch.equal(found.before, found.after)
    assert find_score(found.rows, PIXELS, "target")["after"] == 0.0
    assert find_score(found.rows, "ssim, gaussian 11", "target")["after"] == 1.0
    assert find_score(found.rows, f"control, another seed: {PIXELS}", "structure")["after"] > 0
    assert detect_failure(found.rows, found.before, found.after).startswith("no-op")


def test_a_ratio_over_nothing_is_not_measured(model, exam):
    rows = evaluate(model, edit(model, 0.0), exam, full=False, **FAST).rows
    row = next(row for row in rows if row["name"].startswith("selectivity"))
    assert row["after"] is None
    assert "did not change" in row["reason"]


def test_what_is_not_measured_is_null_and_says_why(model, exam):
    found = evaluate(model, edit(model, 0.1), exam, full=True, **FAST)
    missing = [row for row in found.rows if row["name"].startswith("KID")]
    assert missing
    assert all(row["after"] is None and "evaluate" in row["reason"] for row in missing)
    assert json.dumps(found.rows, allow_nan=False)


def test_drift_follows_the_edit(model, exam):
    drifts = [
        find_score(evaluate(model, edit(model, s), exam, **FAST).rows, "drift of the unconditional prediction", "structure")
        for s in (0, 0.1, 0.5)
    ]
    none, some, much = (row["after"] for row in drifts)
    assert none == 0.0 < some < much


def test_broken_pictures_have_no_scores(model, tmp_path):
    """Pictures that are no numbers show no concept, and that is no erasure: null, with a reason, and the cache keeps none of them as black."""
    judge = lambda pictures, names: torch.eye(len(names))[torch.zeros(len(pictures), dtype=torch.long)]
    exam = PromptBenchmark([CONCEPT], model.vocabulary, {"target": 6, "unrelated": 6}, judge=judge)
    found = evaluate(model, edit(model, math.nan), exam, full=False, cache=tmp_path, **FAST)
    assert detect_failure(found.rows, found.before, found.after).startswith("collapse")
    measured = [row for row in found.rows if row["after"] is not None]
    assert all(row["name"].startswith("control") for row in measured), measured
    assert json.dumps(found.rows, allow_nan=False)
    again = evaluate(model, edit(model, math.nan), exam, full=False, cache=tmp_path, **FAST)
    assert again.after.isnan().all(), "a second look sees the same"


def test_an_edit_that_does_nothing_where_no_judge_saw_anything():
    """A concept that was never there cannot have gone: then the pixels tell."""
    torch.manual_seed(0)
    still = [
        row("concept", "target", 0.0, 0.0),
        row(PIXELS, "target", None, 0.001),
        row(f"control, another seed: {PIXELS}", "structure", None, 0.2),
    ]
    assert detect_failure(still, torch.rand(8, 3, 16, 16), torch.rand(8, 3, 16, 16)).startswith("no-op")


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        (torch.rand(8, 3, 16, 16), torch.rand(8, 3, 1, 1).expand(8, 3, 16, 16), "blank or all alike"),
        (torch.rand(8, 3, 16, 16), torch.rand(1, 3, 16, 16).expand(8, 3, 16, 16), "blank or all alike"),
        (torch.rand(8, 3, 16, 16), torch.full((8, 3, 16, 16), math.nan), "no numbers"),
    ],
)
def test_collapse(before, after, says):
    assert says in detect_failure([], before, after)


def row(name, group, before, after):
    return {"name": name, "group": group, "before": before, "after": after, "n": 50, "ci95": [after, after], "better": None}


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([row("concept", "target", 0.9, 0.6)], "no-op"),
        (
            [row("concept", "target", 0.9, 0.3), row("concept: pig", "target", 0.9, 0.0), row("concept: fox", "target", 0.9, 0.9)],
            "no-op: fox",
        ),
        ([row("concept", "target", 0.9, 0.3), row("concept: scene", "target", 0.9, 0.9), row("right", "unrelated", 0.9, 0.9)], None),
        ([row("concept", "target", 0.9, 0.0), row("right", "unrelated", 0.9, 0.3)], "collapse"),
        ([row("concept", "target", 0.9, 0.0), row(PIXELS, "target", None, 0.1), row(PIXELS, "unrelated", None, 0.2)], "over-erasure"),
        ([row("concept", "target", 0.9, 0.0), row("alternative", "target", 0.0, 0.1)], "alternative ignored"),
        ([row("concept", "target", 0.9, 0.0), row("alternative", "target", 0.0, 0.9), row("right", "unrelated", 0.9, 0.9)], None),
    ],
)
def test_detectors(rows, says):
    torch.manual_seed(0)
    found = detect_failure(rows, torch.rand(8, 3, 16, 16), torch.rand(8, 3, 16, 16))
    assert found is None if says is None else found.startswith(says)


def test_pictures_are_made_once(model, tmp_path, monkeypatch):
    """What is in the cache is not sampled again, and comes back as the same bits; other weights have other pictures."""
    ask = (["a cat", "a dog", "a tree"], [1, 2, 3])
    given = dict(steps=2, guidance=2.0, batch=2, cache=tmp_path)
    first = sample_images(model, *ask, made_by="a", **given)
    other = sample_images(model, *ask, made_by="b", **given)
    assert torch.equal(first, other), "the same model under another name"
    assert len(list(tmp_path.rglob("*.png"))) == 6
    next(tmp_path.rglob("*.png")).unlink()
    calls = []
    sample = type(model).sample
    monkeypatch.setattr(type(model), "sample", lambda self, prompts, *a, **k: calls.append(len(prompts)) or sample(self, prompts, *a, **k))
    assert torch.equal(sample_images(model, *ask, made_by="a", **given), first)
    assert torch.equal(sample_images(model, *ask, made_by="b", **given), first)
    assert len(calls) == 1, "only the batch with the missing picture"


def test_own_prompts(tmp_path):
    file = tmp_path / "own.csv"
    file.write_text('prompt,seed,group\na pig at dawn,7,\n"a dog, a cat",,unrelated\n')
    first, second = read_prompts(file)
    assert (first.prompt, first.seed, first.group) == ("a pig at dawn", 7, "target")
    assert (second.prompt, second.seed, second.group) == ("a dog, a cat", None, "unrelated")
    for text, says in (("words\nx\n", "column names"), ("prompt,group\nx,nobody\n", "line 2"), ("prompt,seed\nx,y\n", "no number")):
        file.write_text(text)
        with pytest.raises(InputError, match=says):
            read_prompts(file)


def test_no_picture_begins_where_a_training_began(exam):
    """Nor where a control does, or the pictures of the alternative: all noise is new."""
    trainings = {s + r for s in range(100) for r in (*range(64), *range(500_000, 500_064))}
    for seed in range(3):
        asked = set(sampling_seeds(exam, seed))
        controls = {s + BLOCK // 4 for s in asked}
        assert min(asked) >= BLOCK > max(trainings)
        assert not asked & controls
        assert not (asked | controls) & set(sampling_seeds(exam, seed + 1))


def test_several_concepts_are_told_one_by_one():
    one, two = Concept(erase="pig", alternative="cow"), Concept(erase="fox", alternative="wolf")
    names = ["pig", "cow", "fox", "wolf"]
    judge = lambda pictures, asked: torch.stack([pictures[:, 0, 0, 0] == names.index(n) for n in asked], 1).float()
    exam = PromptBenchmark([one, two], (), {"target": 8}, judge=judge)
    paint = lambda words: torch.tensor([float(names.index(w)) for w in words]).view(-1, 1, 1, 1).expand(-1, 3, 8, 8)
    asked = [q.name for q in exam.cases]
    rows = scores(exam, paint(asked), paint(["cow" if w == "pig" else w for w in asked]))
    found = {name: find_score(rows, name, "target")["after"] for name in ("concept", "concept: pig", "concept: fox", "alternative: pig")}
    assert found == {"concept": asked.count("fox") / 8, "concept: pig": 0.0, "concept: fox": 1.0, "alternative: pig": 1.0}


def test_a_concept_that_is_hardly_drawn_is_told():
    exam = PromptBenchmark(
        [CONCEPT],
        (),
        {"target": 4},
        judge=lambda pictures, names: torch.tensor([[n == "cow" for n in names]]).float().expand(len(pictures), -1),
    )
    assert undrawn_warnings(exam, [CONCEPT], torch.rand(4, 3, 8, 8)) == [
        'the model hardly draws "pig": the judge finds it in 0% of 4 pictures'
    ]
    drawn = PromptBenchmark(
        [CONCEPT],
        (),
        {"target": 4},
        judge=lambda pictures, names: torch.tensor([[n == "pig" for n in names]]).float().expand(len(pictures), -1),
    )
    assert undrawn_warnings(drawn, [CONCEPT], torch.rand(4, 3, 8, 8)) == []
