"""Real clips: what moves, and that order alone tells opposite motions apart."""

import numpy as np
import pytest

from unconcept.evaluation.emoji.moving import OTHERS, placements, render_clip
from unconcept.models.emoji.motions import FRAMES, MOTIONS, REVERSED

PIG, BLUE = 0, 7


def seeded():
    return np.random.default_rng(3)


@pytest.mark.parametrize("motion", [*MOTIONS, *OTHERS])
def test_every_motion_has_its_frames(motion):
    path = placements(motion, seeded())
    assert len(path) == FRAMES
    assert (len(set(path)) == 1) == (motion == "still")


def test_an_unknown_motion_is_an_error():
    with pytest.raises(KeyError):
        placements("sideways", seeded())


@pytest.mark.parametrize("motion", REVERSED)
def test_a_motion_backwards_is_its_opposite(motion):
    assert placements(motion, seeded())[::-1] == placements(REVERSED[motion], seeded())


def test_the_drawing_moves_to_the_left():
    clip = render_clip(PIG, "left", BLUE, seeded()).astype(float)
    assert clip.shape == (FRAMES, 64, 64, 3)
    differs = np.abs(clip - clip[:, :1, :1]).sum(-1) > 60
    columns = [np.nonzero(frame)[1].mean() for frame in differs]
    assert all(a >= b for a, b in zip(columns, columns[1:]))
    assert columns[0] - columns[-1] > 15
