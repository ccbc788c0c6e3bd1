"""`unconcept attack` on a text-to-video model: clips, judged by their frames."""

import base64
import io
import json
import re
from dataclasses import replace

import pytest
import torch
from PIL import Image
from support.samples_schema import read_samples
from support.tiny_videos import SIZES, tiny_video

from unconcept import Concept, InputError, load
from unconcept.attacks import ATTACKS, QUICK_CLIPS, build, catalogue, names_of
from unconcept.config import Look, Source
from unconcept.evaluation.clip_benchmark import ClipBenchmark
from unconcept.evaluation.prompt_benchmark import PromptBenchmark
from unconcept.methods.uce import UCE
from unconcept.models.pipeline_model import PipelineModel
from unconcept.reporting.attack_report import frames_note
from unconcept.workflows import attack_cases, attack_edit, options
from unconcept.workflows.attack_judgement import Judged

FRAMES, HEIGHT, WIDTH = SIZES["animatediff"]
SIZE = dict(frames=FRAMES, height=HEIGHT, width=WIDTH)
PIG = Concept(erase="pig", alternative="cow", templates=("a {}",), keep=("cat",))


def bright(images, names):
    """A judge: frames of more than medium brightness are pigs."""
    assert images.ndim == 4
    mean = images.flatten(1).mean(1)
    columns = {"pig": mean, "cow": 1 - mean}
    return torch.stack([columns.get(name, torch.zeros_like(mean)) for name in names], 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "animatediff"
    tiny_video("animatediff").save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def attacked(folder, tmp_path_factory):
    """Attacks an edit of the folder's model; `out` names the folder that is written."""
    root = tmp_path_factory.mktemp("attacks")
    path = UCE()(load(folder, **SIZE), PIG).save(root / "edit.safetensors")

    def run(attacks="standard", out="out", size=SIZE, **more):
        return attack_edit(
            path,
            [PIG],
            model=Source(str(folder), **size),
            out=root / out,
            attacks=attacks,
            images=4,
            look=Look(steps=1, judge=bright),
            cache=root / "cache",
            **more,
        )

    run.root = root
    return run


@pytest.fixture(autouse=True)
def short_searches(monkeypatch):
    """One step of every search, on two clips."""
    settings = dict(steps=1, batch=1, vectors=1)
    entries = {**ATTACKS, "probe": replace(ATTACKS["probe"], small=settings)}
    monkeypatch.setattr(catalogue, "ATTACKS", entries)
    monkeypatch.setattr(attack_cases, "SEARCH_CLIPS", 2)


def test_clips_are_attacked_and_a_second_run_computes_nothing(attacked, monkeypatch):
    report = attacked("probe,inversion")
    out = attacked.root / "out"
    assert json.loads((out / "report.json").read_text()) == report
    assert report["settings"]["frames"] == FRAMES
    rows = {row["attack"]: row for row in report["attacks"]}
    assert list(rows) == ["standard", "probe", "inversion"]
    controls = {"erased", "untouched", "none", "chance", "other target"}
    assert rows["probe"]["shown"].keys() == controls
    assert rows["probe"]["shown"]["erased"]["n"] == 4, "clips, not frames"
    assert rows["probe"]["calls"]["backward"] > 0
    assert len(rows["probe"]["over_frames"]["curve"]) == FRAMES
    assert rows["inversion"]["reason"] == "it is for images, and this is a text-to-video model"
    assert rows["inversion"]["over_frames"] is None
    assert "clips" in "\n".join(report["statements"])

    records = read_samples(out)
    order = [(record["attack"], record["stage"]) for record in records]
    assert order[::4] == [(name, stage) for name in list(rows)[:2] for stage in ("before", "after")]
    for record in records:
        assert len(record["frames"]) == FRAMES
        assert record["marks"]["concept"] == any(
            frame["judged"] == "pig" for frame in record["frames"]
        )
    page = (out / "report.html").read_text()
    embedded = re.findall(r'<img src="data:image/webp;base64,([^"]+)" alt="(.+?):', page)
    assert [name for _, name in embedded] == 4 * ["untouched", "erased"] + 4 * [
        "untouched",
        "no attack",
        "erased",
    ]
    for data, _ in embedded:
        with Image.open(io.BytesIO(base64.b64decode(data))) as clip:
            assert clip.n_frames == FRAMES
    with Image.open(out / "samples.png") as sheet:
        assert sheet.size == (FRAMES * 128, 8 * 128), "a row of frames for each clip"

    def nothing(*args, **kwargs):
        raise AssertionError("sampled again")

    monkeypatch.setattr(PipelineModel, "trajectory", nothing)
    assert attacked("probe,inversion", out="again")["attacks"] == report["attacks"]


def test_a_floor_of_another_size_is_refused(attacked, folder, monkeypatch):
    loaded = load(folder, **{**SIZE, "frames": 2})
    monkeypatch.setattr("unconcept.workflows.attack_floor.load", lambda source: loaded)
    with pytest.raises(
        InputError, match="clips of 2 frames of 16 x 16 pixels, and the model clips"
    ):
        attacked(out="floor", floor=folder)


def test_too_many_clips_are_refused(attacked, monkeypatch):
    monkeypatch.setattr(options, "free_memory", lambda device: 1000)
    with pytest.raises(InputError, match="or fewer --images"):
        attacked(out="many")


def test_which_attacks_know_clips():
    assert names_of("quick", clips=True) == QUICK_CLIPS
    assert all(build(name, clips=True).clips for name in QUICK_CLIPS)
    assert build("cce", clips=True).batch == 4
    assert build("cce").batch == 8
    assert build("cce", "paper", clips=True) == build("cce", "paper")
    for name in ("inversion", "inpainting", "unlearn-diff", "mma"):
        assert not build(name).clips


@pytest.fixture
def seen():
    """Three clips of six frames: never a pig, in the last one alone, in five of six."""
    marks = torch.tensor([[0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1], [1, 1, 0, 1, 1, 1]])
    return marks.float()[:, :, None, None, None].expand(3, 6, 3, 8, 8)


def test_over_frames_by_hand(seen):
    benchmark = ClipBenchmark(PromptBenchmark([PIG], ["cat"], {"target": 1}, judge=bright), 6)
    (case,) = benchmark.cases
    judged = Judged.of(benchmark, [case] * 3, seen)
    assert judged.concept().tolist() == [0, 1, 1]
    assert len(benchmark.cases) == 1, "the benchmark keeps its own cases"
    over = judged.over_frames()
    assert over["share of frames"]["value"] == pytest.approx((0 + 1 / 6 + 5 / 6) / 3, abs=1e-4)
    assert over["late return"]["value"] == pytest.approx(1 / 3, abs=1e-4)
    thirds = [round(3 * frame["value"]) for frame in over["curve"]]
    assert thirds == [1, 1, 0, 1, 1, 2]
    assert "frame by frame in 33, 33, 0, 33, 33, 67 % of them" in frames_note(over)


def test_images_have_no_frames():
    benchmark = PromptBenchmark([PIG], ["cat"], {"target": 1}, judge=bright)
    judged = Judged.of(benchmark, benchmark.cases, torch.ones(1, 3, 8, 8))
    assert judged.concept().tolist() == [1]
    assert judged.over_frames() is None
