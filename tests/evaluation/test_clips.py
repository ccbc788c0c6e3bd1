"""Measures of clips, by hand."""

import math

import pytest
import torch

from unconcept.evaluation.clips import (
    ClipScores,
    curve,
    erased_rate,
    first_frame,
    flicker,
    frame_marks,
    frame_probabilities,
    identity_switches,
    last_frame,
    longest_run,
    mean_over_clips,
    motion_degree,
    preserved_rate,
    returns_late,
    roughness,
    seen_in_any,
    share_of_frames,
    subject_consistency,
)

NAN = math.nan
MARKS = torch.tensor(
    [
        [0.0, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 1],
        [1, 1, 0, 1, 1, 1],
        [NAN, 0, 1, 0, NAN, NAN],
    ]
)


def test_marks_by_clip():
    assert seen_in_any(MARKS).tolist() == [0, 1, 1, 1]
    torch.testing.assert_close(share_of_frames(MARKS), torch.tensor([0, 1 / 6, 5 / 6, 1 / 3]))
    assert first_frame(MARKS).tolist()[1:] == [5, 0, 2]
    assert last_frame(MARKS).tolist()[1:] == [5, 5, 2]
    assert first_frame(MARKS)[0].isnan()
    assert longest_run(MARKS).tolist() == [0, 1, 3, 1]
    assert returns_late(MARKS).tolist() == [0, 1, 0, 0]


def test_one_frame_in_six_fails_in_every_clip():
    """`any` and `share` are told together."""
    scores = ClipScores.of(torch.eye(6))
    assert scores.any["value"] == 1.0
    assert scores.share["value"] == pytest.approx(1 / 6, abs=1e-4)
    assert scores.any["n"] == 6, "clips, not frames"
    assert scores.late_return["value"] == pytest.approx(1 / 3, abs=1e-4)
    assert [frame["value"] for frame in curve(torch.eye(6))] == [pytest.approx(1 / 6, abs=1e-4)] * 6


def test_a_judge_of_images_is_asked_about_frames():
    clips = torch.zeros(2, 3, 3, 4, 4)
    clips[0, 1] = 1.0

    def judge(images, names):
        bright = images.flatten(1).mean(1)
        return torch.stack([bright, torch.full_like(bright, 0.5)], 1)

    probabilities = frame_probabilities(judge, clips, ["bright", "dark"])
    assert probabilities.shape == (2, 3, 2)
    assert frame_marks(probabilities, [0]).tolist() == [[0, 1, 0], [0, 0, 0]]
    assert frame_marks(probabilities, [0, 1]).tolist() == [[1, 1, 1], [1, 1, 1]]
    assert identity_switches(probabilities.argmax(2)).tolist() == [2, 0]
    assert erased_rate(probabilities, 0, 1).tolist() == [pytest.approx(2 / 3), 1.0]
    assert preserved_rate(probabilities, [0, 1], 1).tolist() == [pytest.approx(1 / 3), 1.0]
    assert preserved_rate(probabilities, [0, 1], 2).tolist() == [1.0, 1.0]


def test_motion_by_hand():
    """A still clip, one that fades evenly by 0.1 a frame, and one that blinks."""
    still = torch.full((5,), 0.3)
    fade = torch.arange(5) * 0.1
    blink = torch.tensor([0.0, 1, 0, 1, 0])
    clips = torch.stack([still, fade, blink])[:, :, None, None, None].expand(3, 5, 3, 2, 2)
    torch.testing.assert_close(flicker(clips), torch.tensor([1.0, 0.9, 0.0]))
    torch.testing.assert_close(motion_degree(clips), torch.tensor([0.0, 0.1, 1.0]))
    torch.testing.assert_close(roughness(clips), torch.tensor([0.0, 0.0, 1.0]))


def test_subject_consistency_by_hand():
    """φ of three frames: east, east, north. cos with the previous: 1, 0; with the first: 1, 0."""
    clips = torch.zeros(1, 3, 3, 1, 1)
    clips[0, :2, 0], clips[0, 2, 1] = 1.0, 1.0

    def φ(images):
        return images.flatten(1)

    assert subject_consistency(clips, φ).item() == pytest.approx(0.5)
    assert subject_consistency(clips[:, :2], φ).item() == pytest.approx(1.0)


def test_intervals_are_over_clips():
    mean = mean_over_clips(torch.tensor([0.0, 1.0, NAN, 1.0, 0.0]))
    assert (mean["value"], mean["n"]) == (0.5, 4)
    assert mean["ci95"][0] < 0.2
    assert mean["ci95"][1] > 0.8
    assert mean_over_clips(torch.tensor([NAN])) is None
