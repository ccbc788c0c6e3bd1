"""The commands on a text-to-video model: erase, generate, export; and those that need images."""

import pytest
from PIL import Image
from support.tiny_videos import tiny_video

from unconcept import AllButOne, Concept, Edit, InputError, Tune, erase, load
from unconcept.methods.uce import UCE
from unconcept.profiling.memory_estimate import estimate_memory, unique_bytes
from unconcept.workflows import compare, evaluate_edit, generate
from unconcept.workflows.options import CLIPS_ARE_NOT_EVALUATED

SIZE = dict(frames=5, height=16, width=32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "wan"
    tiny_video("wan").save_pretrained(path)
    return path


def source(folder):
    from unconcept.config import Source

    return Source(str(folder), **SIZE)


def test_erase_and_generate(folder, tmp_path):
    """The edit comes without images, and clips are animations of the length that was asked for."""
    pig = Concept(erase="pig", alternative="cow", templates=("a {}",), keep=("cat",))
    report = erase([pig], method=UCE(), model=source(folder), out=tmp_path / "erased")
    assert CLIPS_ARE_NOT_EVALUATED in report["warnings"]
    assert not (tmp_path / "erased" / "before-after.png").exists()
    file = tmp_path / "erased" / "edit.safetensors"
    assert Edit.load(file).deltas
    options = dict(model=source(folder), steps=2, images=1, out=tmp_path / "clips")
    out = generate(["a pig"], edits=[file], compare=True, **options)
    for name in ("000-seed0.webp", "000-seed0-before.webp"):
        with Image.open(out / name) as clip:
            assert (clip.n_frames, clip.size) == (5, (32, 16))
    with Image.open(out / "sheet.png") as sheet:
        assert sheet.size == (5 * 128, 2 * 64), "before above after, a row of frames each"


def test_what_needs_images_says_so(folder, tmp_path):
    pig = Concept(erase="pig", alternative="cow")
    options = dict(model=source(folder))
    with pytest.raises(InputError, match="--strict and --prompts need images"):
        erase([pig], method=UCE(), strict=True, out=tmp_path / "a", **options)
    with pytest.raises(InputError, match="text-to-video model"):
        compare([pig], {"uce": UCE()}, out=tmp_path / "b", **options)
    edit = Edit({}, {"concepts": [{"erase": "pig"}]})
    edit.save(tmp_path / "edit.safetensors")
    with pytest.raises(InputError, match="text-to-video model"):
        evaluate_edit(tmp_path / "edit.safetensors", out=tmp_path / "c", **options)


def test_sizes_are_for_video_models(folder):
    assert load(folder, **SIZE).latent_shape == (4, 2, 4, 8)
    with pytest.raises(InputError, match="such as 1 or 5"):
        load(folder, frames=4)
    with pytest.raises(InputError, match="samples images"):
        load("emoji", frames=4)


def test_a_dry_run_counts_both_experts(tmp_path):
    """Shapes alone, of a pipeline whose denoisers are optional for diffusers."""
    pipe = tiny_video("wan, two experts")
    pipe.save_pretrained(tmp_path / "wan")
    model = load(tmp_path / "wan", device="meta", **SIZE)
    assert {part.device.type for part in model.components.values()} == {"meta"}
    method = AllButOne(start="none", tune=Tune(steps=2, batch_size=1))
    estimate = estimate_memory(model, method)
    assert estimate.text_encoders == unique_bytes(model.components["text_encoder"])
    experts = [model.components[name] for name in model.denoiser_names]
    assert estimate.weights == model.vae_bytes + sum(unique_bytes(expert) for expert in experts)
