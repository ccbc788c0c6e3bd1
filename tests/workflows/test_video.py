"""The commands on a text-to-video model; and those that need images."""

import base64
import io
import re

import pytest
import torch
from PIL import Image
from support.report_schema import check
from support.samples_schema import read_samples
from support.tiny_videos import tiny_video

from unconcept import AllButOne, Concept, Edit, InputError, Tune, erase, load
from unconcept.config import Look
from unconcept.methods.uce import UCE
from unconcept.profiling.memory_estimate import estimate_memory, unique_bytes
from unconcept.reporting.comparison_summary import comparison_lines
from unconcept.reporting.terminal import summary_lines
from unconcept.workflows import (
    compare,
    comparison,
    edit_evaluation,
    eraseeval_edit,
    erasure,
    evaluate_edit,
    generate,
    options,
    purify_files,
)
from unconcept.workflows.comparison_folder import table

SIZE = dict(frames=5, height=16, width=32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "wan"
    tiny_video("wan").save_pretrained(path)
    return path


def source(folder):
    from unconcept.config import Source

    return Source(str(folder), **SIZE)


@pytest.fixture
def few_clips(monkeypatch):
    """One clip of the concept and one of something else."""
    monkeypatch.setitem(options.CLIPS_PER_GROUP, "short", {"target": 1, "unrelated": 1})
    monkeypatch.setitem(options.CLIP_CONTROLS, "short", 1)
    for workflow in (comparison, edit_evaluation, erasure):  # a large network
        monkeypatch.setattr(workflow, "features_or_none", lambda: None)


def bright(images, names):
    """A judge: bright frames are pigs."""
    assert images.ndim == 4
    mean = images.flatten(1).mean(1)
    columns = {"pig": mean, "cow": 0.2 * torch.ones_like(mean)}
    return torch.stack([columns.get(name, torch.zeros_like(mean)) for name in names], 1)


PIG = Concept(erase="pig", alternative="cow", templates=("a {}",), keep=("cat",))


def test_erase_evaluates_clips(folder, few_clips, tmp_path):
    """The folder has a record and an animation for every clip, and one divider for all."""
    few = Look(steps=2, judge=bright)
    report = erase([PIG], method=UCE(), model=source(folder), look=few, out=tmp_path / "erased")
    out = tmp_path / "erased"
    check(report)
    assert report["settings"]["frames"] == 5
    names = {(row["name"], row["group"]): row for row in report["scores"]}
    assert names["concept", "target"]["n"] == 1, "clips, not frames"
    for name in ("concept, share of frames", "late return", "flicker, 1 - L1 between frames"):
        assert (name, "target") in names
    records = read_samples(out)
    assert [(r["stage"], r["group"]) for r in records] == [
        ("before", "target"),
        ("before", "unrelated"),
        ("after", "target"),
        ("after", "unrelated"),
    ]
    for record in records:
        assert len(record["frames"]) == 5
        assert set(record["frames"][0]) == {"judged", "probabilities"}
        with Image.open(out / record["file"]) as clip:
            assert (clip.n_frames, clip.size) == (5, (32, 16))
    with Image.open(out / "before-after.png") as sheet:
        assert sheet.width > 5 * 128, "a row of frames for each clip"
    page = (out / "report.html").read_text()
    embedded = re.findall(r'class="pair"[^>]*><img src="data:image/webp;base64,([^"]+)"', page)
    assert len(embedded) == 2
    with Image.open(io.BytesIO(base64.b64decode(embedded[0]))) as clip:
        assert clip.n_frames == 5
    assert page.count('<input type="range"') == 1
    assert "pipeline_tag: text-to-video" in (out / "README.md").read_text()
    assert "clips" in "\n".join(summary_lines(report, out))
    again = evaluate_edit(
        out, model=source(folder), look=few, extent="short", out=tmp_path / "again"
    )
    rows = {(row["name"], row["group"]): row for row in again["scores"]}
    assert rows["concept", "target"] == names["concept", "target"]


def test_compare_clips_without_a_judge(folder, few_clips, tmp_path):
    out = tmp_path / "compared"
    result = compare([PIG], {"uce": UCE()}, model=source(folder), look=Look(steps=2), out=out)
    assert result["settings"]["frames"] == 5
    header, (before, line) = table(result)
    assert "flicker" in header
    assert before[header.index("flicker")] != "–"
    assert line[0] == "uce"
    assert len(read_samples(out)) == 4
    with Image.open(out / "compare.png") as sheet:
        assert sheet.width == 190 + 2 * (3 * 128 + 6), "three frames of a clip in each column"
    assert "clips" in "\n".join(comparison_lines(result))


def test_generate(folder, tmp_path):
    """Clips are animations of as many frames as `--frames` says."""
    edit = UCE()(load(folder, **SIZE), PIG)
    file = edit.save(tmp_path / "edit.safetensors")
    how = dict(model=source(folder), steps=2, images=1, out=tmp_path / "clips")
    out = generate(["a pig"], edits=[file], compare=True, **how)
    for name in ("000-seed0.webp", "000-seed0-before.webp"):
        with Image.open(out / name) as clip:
            assert (clip.n_frames, clip.size) == (5, (32, 16))
    with Image.open(out / "sheet.png") as sheet:
        assert sheet.size == (5 * 128, 2 * 64), "before above after, a row of frames each"


def test_what_clips_cannot_do_is_refused(folder, tmp_path, monkeypatch):
    edit = Edit({}, {"concepts": [{"erase": "pig"}]}).save(tmp_path / "edit.safetensors")
    given = dict(model=source(folder), out=tmp_path / "out")
    with pytest.raises(InputError, match="EraseEval is for images"):
        eraseeval_edit(edit, **given)
    image = tmp_path / "pig.png"
    Image.new("RGB", (32, 16)).save(image)
    with pytest.raises(InputError, match="purify is for images"):
        purify_files([image], edit=edit, **given)
    with pytest.raises(InputError, match="--real is for images"):
        erase([PIG], method=UCE(), look=Look(real=tmp_path), **given)
    monkeypatch.setattr(options, "free_memory", lambda device: 1000)
    with pytest.raises(InputError, match="fewer --frames"):
        erase([PIG], method=UCE(), **given)
    assert not (tmp_path / "out").exists()


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
