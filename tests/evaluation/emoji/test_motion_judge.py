"""The judge of motions: its network, and the error where it was not trained."""

import pytest
import torch

from unconcept import InputError
from unconcept.evaluation.emoji import motion_judge
from unconcept.evaluation.emoji.motion_judge import NONE, MotionJudge, load_motion_judge
from unconcept.models.emoji.motions import FRAMES


def test_it_sees_the_order_of_the_frames_and_not_the_colour():
    torch.manual_seed(0)
    judge = MotionJudge().eval()
    clips = torch.rand(2, FRAMES, 3, 64, 64) / 2
    logits = judge(clips)
    assert logits.shape == (2, NONE + 1)
    torch.testing.assert_close(judge(clips + 0.3), logits, atol=1e-4, rtol=1e-4)
    assert (judge(clips.flip(1)) - logits).abs().max() > 1e-3


def test_an_error_names_the_command_that_makes_it(tmp_path, monkeypatch):
    monkeypatch.setattr(motion_judge, "WEIGHTS", tmp_path / "missing.safetensors")
    load_motion_judge.cache_clear()
    with pytest.raises(InputError, match="python -m pretraining motion-judge"):
        load_motion_judge()
