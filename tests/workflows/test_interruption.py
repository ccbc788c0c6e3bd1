"""Runs that do not end well: interrupted, terminated, a full disk, a loss that is not finite."""

import json
import signal

import pytest
import torch
from conftest import QUICK, one_line
from safetensors import SafetensorError
from support.command_process import CommandProcess, processes

from unconcept.errors import RunError
from unconcept.io.weights import write_safetensors


def test_interrupted_leaves_nothing(run, tmp_path, folder, quick, monkeypatch):
    from unconcept.workflows import erasure as erasing

    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(erasing, "evaluate", stop)
    words = ("erase", "pig", "--model", folder, "--config", quick, "--steps", "2")
    code, _, err = run(*words, "--out", "gone")
    assert code == 130
    assert "Traceback" not in err
    assert [p.name for p in tmp_path.iterdir()] == ["quick.yaml"]


@processes
def test_a_real_signal_in_the_middle_of_the_training(tmp_path, folder, quick):
    quick.write_text(QUICK.replace("steps: 2", "steps: 100000").replace("check: 1", "check: 1000"))
    words = ("erase", "pig", "--model", folder, "--config", quick, "--out", "gone")
    with CommandProcess(*words, folder=tmp_path) as process:
        assert any(line.strip() == "training" for line in process.stderr), "it never began to train"
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
        assert process.wait() == 130, rest
    assert rest.strip().endswith(
        "interrupted (a training goes on with --resume); no output was left behind"
    )
    assert [p.name for p in tmp_path.iterdir()] == ["quick.yaml"]


@processes
def test_asked_to_end_it_goes_on_by_the_same_words(run, tmp_path, folder, quick):
    from unconcept import Edit

    quick.write_text(QUICK.replace("steps: 2", "steps: 60").replace("check: 1", "check: 20"))
    words = (
        "erase",
        "pig",
        "--model",
        folder,
        "--config",
        quick,
        "--evaluate",
        "none",
        "--out",
    )
    with CommandProcess(*words, "gone", folder=tmp_path) as process:
        assert any(line.strip() == "training" for line in process.stderr), "it never began to train"
        process.send_signal(signal.SIGTERM)
        rest = process.stderr.read()
        assert process.wait() == 143, rest
    assert "Traceback" not in rest
    assert [p.name for p in tmp_path.iterdir()] == ["quick.yaml"]
    warnings = json.loads(run(*words, "one", "--json", "--resume")[1])["warnings"]
    assert any("resumed at step" in line for line in warnings)
    warnings = json.loads(run(*words, "two", "--json", "--resume")[1])["warnings"]
    assert not any("resumed at step" in line for line in warnings), (
        "a training that is done leaves no state"
    )
    assert any("--resume found no training" in line for line in warnings)
    one, two = (Edit.load(tmp_path / name).deltas for name in ("one", "two"))
    assert all(torch.equal(one[name], two[name]) for name in two)


@pytest.mark.usefixtures("few_images")
@pytest.mark.parametrize(
    "writer",
    ["io.weights.save_file", "reporting.report.write", "io.output_folder.flush_to_disk"],
)
def test_disk_full_leaves_nothing(run, tmp_path, folder, quick, monkeypatch, writer):
    def full(*args, **more):
        raise (
            SafetensorError("I/O error: No space left on device (os error 28)")
            if "save" in writer
            else OSError(28, "No space left on device")
        )

    monkeypatch.setattr(f"unconcept.{writer}", full)
    words = ("erase", "pig", "--model", folder, "--config", quick, "--steps", "2")
    code, _, err = run(*words, "--out", "gone")
    assert code == 1
    assert "No space left on device" in err
    assert [p.name for p in tmp_path.iterdir()] == ["quick.yaml"]


@pytest.mark.usefixtures("few_images")
def test_a_prompt_that_is_too_long_is_cut_aloud(run, folder, quick, tmp_path):
    words = "a very very long description of a pig"
    options = ("--model", folder, "--config", quick, "--steps", "2")
    _, out, _ = run("erase", words, *options, "--out", "gone", "--json")
    assert any("this part is ignored" in warning for warning in json.loads(out)["warnings"])


def test_a_loss_that_blows_up_is_a_failed_run(run, folder, quick, tmp_path):
    quick.write_text(QUICK.replace("lr: 1.0e-4", "lr: 9.0e+8"))
    words = ("erase", "pig", "--model", folder, "--config", quick, "--steps", "2")
    code, _, err = run(*words, "--out", "gone")
    assert code == 1
    assert "nothing was kept" in err
    assert [p.name for p in tmp_path.iterdir()] == ["quick.yaml"]


@pytest.mark.usefixtures("few_images")
def test_strict_refuses_what_nobody_can_vouch_for(run, folder, quick, tmp_path):
    words = ("erase", "pig", "--model", folder, "--config", quick, "--steps", "2")
    code, _, err = run(*words, "--out", "gone", "--strict")
    assert code == 2
    assert "--strict" in err
    assert [p.name for p in tmp_path.iterdir()] == ["quick.yaml"]


def test_a_disk_that_is_full_indeed(tmp_path):
    """The system refuses a file that is too long: no half of it is left."""
    resource = pytest.importorskip("resource")
    allowed = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, allowed[1]))
    try:
        with pytest.raises(RunError, match="could not be written"):
            write_safetensors({"w": torch.zeros(100_000)}, tmp_path / "edit.safetensors", {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, allowed)
    assert not list(tmp_path.iterdir())


def test_force_replaces_results_and_nothing_else(run, tmp_path, folder):
    words = (
        "generate",
        "a cat",
        "--model",
        folder,
        "--images",
        "1",
        "--steps",
        "2",
        "--force",
        "--out",
    )
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    for out, reason in (("mine", "does not replace"), (".", "working directory")):
        code, _, err = run(*words, out)
        assert (code, one_line(err)) == (2, True), err
        assert reason in err
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"
    assert run(*words, "pictures")[0] == 0
    (tmp_path / "pictures" / "prompts.txt").write_text("old")
    assert run(*words, "pictures")[0] == 0
    assert "a cat" in (tmp_path / "pictures" / "prompts.txt").read_text()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine", "pictures"]
