"""From the marks of frames to the scores of clips, by hand."""

import math

import pytest
import torch

from unconcept import Concept
from unconcept.evaluation.clip_benchmark import ClipBenchmark, clip_scores
from unconcept.evaluation.failure_detection import detect_failure
from unconcept.evaluation.prompt_benchmark import PromptBenchmark
from unconcept.evaluation.runner import Evaluation
from unconcept.evaluation.scores import compute_scores

FRAMES = 6

# Where the judge sees a pig in four clips; elsewhere it sees a cow.
PIG = torch.tensor([[0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1], [1, 1, 0, 1, 1, 1], [0, 0, 0, 0, 0, 0]])


def clips(bright: torch.Tensor) -> torch.Tensor:
    """Frames of one brightness [N, F, 3, 16, 16]: 1 is a pig, 0 a cow."""
    return bright.float()[:, :, None, None, None].expand(*bright.shape, 3, 16, 16)


class Judge:
    """Bright frames are pigs, dark ones cows."""

    name = "brightness"

    def __init__(self):
        self.calls = 0

    def __call__(self, images, names):
        assert images.ndim == 4, "to the judge a clip is a batch of frames"
        self.calls += 1
        bright = images.flatten(1).mean(1)
        columns = {"pig": bright, "cow": 1 - bright}
        return torch.stack([columns.get(name, torch.zeros_like(bright)) for name in names], 1)


@pytest.fixture
def benchmark():
    pig = Concept(erase="pig", alternative="cow", templates=("a {}", "the {}", "one {}", "my {}"))
    return ClipBenchmark(PromptBenchmark([pig], ["cat"], {"target": 4}, judge=Judge()), FRAMES)


def test_a_clip_shows_the_concept_if_any_frame_does(benchmark):
    marks = benchmark.marks(clips(PIG))
    assert marks["concept"].tolist() == [0, 1, 1, 0]
    assert marks["alternative"].tolist() == [1, 1, 0, 1], "in most frames"
    assert marks["late return"].tolist() == [0, 1, 0, 0]
    assert marks["right"].isnan().all()


def test_scores_are_over_clips(benchmark):
    before, after = clips(torch.ones(4, FRAMES)), clips(PIG)
    scores = compute_scores(benchmark, before, after)
    scores += clip_scores(benchmark, before, after)
    concept = scores["concept", "target"]
    assert (concept.before, concept.after, concept.n) == (1.0, 0.5, 4), "4 clips, not 24 frames"
    assert concept.ci95 == [0.15, 0.85], "Wilson, 2 of 4"
    assert concept.difference["value"] == -0.5
    assert scores["alternative", "target"].after == 0.75
    assert scores["late return", "target"].after == 0.25
    share = scores["concept, share of frames", "target"]
    assert (share.before, share.after, share.n) == (1.0, 0.25, 4)
    assert scores["concept, first frame", "target"].after == 3.5, "the mean of 6 and 1"
    assert scores["concept, first frame", "target"].n == 2
    assert scores["concept, last frame", "target"].after == 6
    assert scores["identity switches per clip", "target"].after == 0.75, "0, 1, 2 and 0"
    # Of five steps one changes in the second clip and two in the third: (1 + 4/5 + 3/5 + 1) / 4.
    flicker = scores["flicker, 1 - L1 between frames", "target"]
    assert flicker.after == pytest.approx(0.85)
    assert flicker.better is None
    pixels = scores["pixel change, L1", "target"]
    assert pixels.n == 4
    assert pixels.after == pytest.approx((1 + 5 / 6) / 2, abs=1e-4), "the median of 1, 5/6, 1/6, 1"
    assert scores["right, share of frames", "target"] is None


def test_frames_that_do_not_count(benchmark):
    """Of the second clip only the frames without the pig count, of the third none."""
    counted = torch.ones(4, FRAMES, dtype=torch.bool)
    counted[1, -1], counted[2] = False, False
    benchmark.counted = lambda: counted
    marks = benchmark.marks(clips(PIG))
    assert marks["concept"][:2].tolist() == [0, 0]
    assert math.isnan(marks["concept"][2])
    assert math.isnan(marks["late return"][2])
    scores = clip_scores(benchmark, clips(PIG), clips(PIG))
    assert scores["concept, share of frames", "target"].n == 3
    assert scores["identity switches per clip", "target"].after == 0.0


def test_the_judge_is_asked_once_about_a_tensor(benchmark):
    some = clips(PIG)
    answers = benchmark.judgements(some)
    benchmark.marks(some)
    benchmark.values(some)
    assert benchmark.images.judge.calls == 1
    assert [answer.name for answer in answers] == ["cow", "cow", "pig", "cow"]
    assert [frame.name for frame in answers[1].frames] == ["cow"] * 5 + ["pig"]
    assert answers[1].probabilities["pig"] == pytest.approx(1 / 6)


def test_without_a_judge_clips_are_compared():
    images = PromptBenchmark([Concept(erase="pig")], ["cat"], {"target": 1, "unrelated": 1})
    benchmark = ClipBenchmark(images, FRAMES)
    before, after = clips(torch.ones(2, FRAMES)), clips(PIG[:2])
    assert benchmark.marks(before) == {}
    assert benchmark.judgements(before) == []
    scores = compute_scores(benchmark, before, after)
    scores += clip_scores(benchmark, before, after)
    assert {score.name for score in scores} == {
        "pixel change, L1",
        "layout change, 8x8 L1",
        "edge change, 1-F1",
        "background change, rim L1",
        "ssim, gaussian 11",
        "flicker, 1 - L1 between frames",
    }


def test_failures_speak_of_clips(benchmark):
    pattern = torch.rand(4, FRAMES, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    before = (0.6 + 0.4 * pattern).clamp(0, 1)
    scores = compute_scores(benchmark, before, before)
    evaluation = Evaluation(scores, before, before)
    failure = detect_failure(evaluation.scores, before, before)
    assert failure == "no-op: the concept is still in 100% of its clips (before: 100%)"


def test_a_feature_space_sees_frames():
    from unconcept.evaluation.scores import change_scores

    class Mean:
        name = "mean"

        def __call__(self, images):
            assert images.ndim == 4
            return torch.stack([images.flatten(1).mean(1), 1 - images.flatten(1).mean(1)], 1)

    scores = change_scores(clips(PIG), clips(1 - PIG), "target", features=Mean())
    change = next(score for score in scores if score.name == "feature change, 1-cos mean")
    assert (change.after, change.n) == (1.0, 4), "orthogonal in every frame"
