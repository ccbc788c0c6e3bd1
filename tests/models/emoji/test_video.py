"""`emoji-video`: found in the user's cache, sampled as a clip; with random weights here."""

import pytest
import torch
from diffusers.models.unets.unet_motion_model import UNetMotionModel
from PIL import Image

from unconcept import Concept, InputError, load
from unconcept.models.emoji.motions import (
    FRAMES,
    MOTIONS,
    REVERSED,
    motion_of,
    with_motion,
)
from unconcept.models.interface import Sampling
from unconcept.workflows import generate


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A folder of the user's cache with a tiny U-Net."""
    monkeypatch.setenv("UNCONCEPT_CACHE", str(tmp_path))
    torch.manual_seed(0)
    unet = UNetMotionModel(
        sample_size=16,
        in_channels=8,
        out_channels=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        down_block_types=("CrossAttnDownBlockMotion", "DownBlockMotion"),
        up_block_types=("UpBlockMotion", "CrossAttnUpBlockMotion"),
        cross_attention_dim=128,
        num_attention_heads=2,
        motion_num_attention_heads=2,
    )
    unet.save_pretrained(tmp_path / "emoji-video" / "unet")
    return tmp_path


def test_an_error_names_the_command_that_makes_it(tmp_path, monkeypatch):
    monkeypatch.setenv("UNCONCEPT_CACHE", str(tmp_path))
    with pytest.raises(InputError, match="python -m pretraining video"):
        load("emoji-video")


def test_it_samples_clips_and_knows_its_words(made, tmp_path):
    model = load("emoji-video", frames=2)
    assert model.frames == 2
    assert model.guidance == 5.0
    assert load("emoji-video").clip_size.frames == FRAMES
    latents = model.sample(["a pig, moving up"], [0], Sampling(steps=1))
    assert model.decode(latents).shape == (1, 2, 3, 64, 64)
    spin = Concept(erase="spinning", alternative="standing still")
    motion, thing = model.complete([spin, Concept(erase="pig", alternative="cow")])
    assert "hog" in thing.synonyms
    assert motion.synonyms == ("turning around",)
    assert ("a pig, spinning", "a pig, standing still") in motion.pairs()
    assert "growing" in motion.keep
    assert "standing still" not in motion.keep
    assert model.complete([motion, thing]) == (motion, thing)


def test_generate_writes_an_animation(made, tmp_path):
    from unconcept.config.options import Source

    out = generate(
        ["a pig, moving up"],
        model=Source("emoji-video", frames=2),
        out=tmp_path / "out",
        images=1,
        steps=1,
    )
    with Image.open(out / "000-seed0.webp") as image:
        assert image.n_frames == 2
        assert image.size == (64, 64)


def test_every_phrase_names_its_motion():
    for name, phrases in MOTIONS.items():
        for phrase in phrases:
            assert motion_of(with_motion("a pig on a blue background", phrase)) == name
        assert motion_of(with_motion("a pig", name)) == name
    assert motion_of("a pig on a blue background") is None
    assert {REVERSED[REVERSED[name]] for name in REVERSED} == set(REVERSED)
