"""`emoji-video`: `emoji` with motion modules, sampled as a clip."""

import json

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from unconcept import Concept, InputError, load
from unconcept.models.emoji import loading
from unconcept.models.emoji.motions import (
    FRAMES,
    MOTIONS,
    REVERSED,
    TRAINED,
    motion_of,
    with_motion,
)
from unconcept.models.interface import Sampling
from unconcept.workflows import generate


def test_an_error_names_the_command_that_makes_it(tmp_path, monkeypatch):
    monkeypatch.setattr(loading, "VIDEO", tmp_path)
    with pytest.raises(InputError, match="python -m pretraining video"):
        load("emoji-video")


def test_the_motions_that_it_was_trained_on():
    quality = json.loads((loading.VIDEO / "quality.json").read_text(encoding="utf-8"))
    assert set(quality["motions"]) == set(TRAINED)


def test_it_is_the_image_model_with_motion_modules():
    video, image = load("emoji-video").denoiser.state_dict(), load("emoji").denoiser.state_dict()
    added = load_file(loading.VIDEO / loading.MOTION)
    assert {name for name in video if name not in image} <= set(added)
    for name, weight in image.items():
        assert torch.equal(video[name], weight) or name in added
    assert all("motion_modules" in name or ".attn2." in name for name in added)


def test_it_samples_clips_and_knows_its_words():
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
    assert "moving up" in motion.keep
    assert "standing still" not in motion.keep
    assert model.complete([motion, thing]) == (motion, thing)


def test_generate_writes_an_animation(tmp_path):
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
