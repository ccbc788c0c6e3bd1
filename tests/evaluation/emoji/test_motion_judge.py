"""The judge of motions: its network, what it recognizes, and the error where it was not trained."""

import numpy as np
import pytest
import torch

from unconcept import InputError
from unconcept.evaluation.emoji import motion_judge
from unconcept.evaluation.emoji.motion_judge import (
    NAMES,
    NONE,
    MotionJudge,
    load_motion_judge,
    motion_quality,
)
from unconcept.evaluation.emoji.moving import render_clip
from unconcept.models.emoji.motions import FRAMES, TRAINED


def test_it_sees_the_order_of_the_frames_and_not_the_colour():
    torch.manual_seed(0)
    judge = MotionJudge().eval()
    clips = torch.rand(2, FRAMES, 3, 64, 64) / 2
    logits = judge(clips)
    assert logits.shape == (2, NONE + 1)
    torch.testing.assert_close(judge(clips + 0.3), logits, atol=1e-4, rtol=1e-4)
    assert (judge(clips.flip(1)) - logits).abs().max() > 1e-3


@pytest.mark.parametrize("thing", [0, 35, 84])
def test_it_recognizes_real_clips_of_objects_that_it_never_saw(thing):
    clips = [render_clip(thing, motion, 2, np.random.default_rng(1)) for motion in TRAINED]
    clips.append(render_clip(thing, "shake", 2, np.random.default_rng(1)))
    images = torch.from_numpy(np.stack(clips)).permute(0, 1, 4, 2, 3).float() / 255
    seen = load_motion_judge().look(images).tolist()
    assert seen == [*(NAMES.index(motion) for motion in TRAINED), NONE]


def test_its_accuracy_is_beside_it():
    quality = motion_quality()
    assert all(quality[motion][0] >= 0.98 for motion in TRAINED)
    assert quality["none of these"][0] >= 0.98


def test_an_error_names_the_command_that_makes_it(tmp_path, monkeypatch):
    monkeypatch.setattr(motion_judge, "WEIGHTS", tmp_path / "missing.safetensors")
    load_motion_judge.cache_clear()
    with pytest.raises(InputError, match="python -m pretraining motion-judge"):
        load_motion_judge()
