"""Same seed, same bytes; killed evaluations continue; failures have an exit code."""

import json
import re
import signal
import time

import pytest
from support.command_process import CommandProcess, processes

from unconcept.models import image_cache as gallery
from unconcept.models.image_cache import cache_folder


@pytest.fixture
def edit(run, folder, quick, all_names_known):
    code, _, err = run(
        "erase",
        "pig",
        "--to",
        "cow",
        "--model",
        folder,
        "--config",
        quick,
        "--out",
        "gone",
        "--evaluate",
        "none",
    )
    assert code == 0, err
    return "gone"


def without_times(report: str) -> dict:
    """report.json but for seconds and memory."""
    result = json.loads(report)
    return {
        **result,
        "cost": {
            k: v for k, v in result["cost"].items() if "seconds" not in k and "memory" not in k
        },
    }


def embedded(page: str) -> list[str]:
    return re.findall(r"data:image/webp;base64,[^\"]+", page)


@pytest.mark.usefixtures("few_images")
def test_from_two_empty_caches_come_the_same_bytes(run, tmp_path, folder, edit, monkeypatch):
    """Not from one cache: everything is sampled twice."""
    looks = []
    for name in ("one", "two"):
        monkeypatch.setenv("UNCONCEPT_CACHE", str(tmp_path / f"{name}-cache"))
        code, _, err = run(
            "evaluate",
            "--edit",
            edit,
            "--model",
            folder,
            "--extent",
            "short",
            "--steps",
            "3",
            "--out",
            name,
        )
        assert code in (0, 3), err
        looks.append(tmp_path / name)
    one, two = looks
    assert without_times((one / "report.json").read_text()) == without_times(
        (two / "report.json").read_text()
    )
    assert (
        embedded((one / "report.html").read_text())
        == embedded((two / "report.html").read_text())
        != []
    )
    for file in ("edit.safetensors", "before-after.png", "scores.png"):
        assert (
            not (one / file).exists() or (one / file).read_bytes() == (two / file).read_bytes()
        ), file
    made = [
        {p.name: p.read_bytes() for p in (tmp_path / f"{name}-cache").rglob("*.png")}
        for name in ("one", "two")
    ]
    assert made[0] == made[1] != {}


@processes
def test_a_killed_evaluation_goes_on(run, tmp_path, folder, edit, monkeypatch):
    """SIGKILL in the middle; the same command then samples what is missing.

    Its report equals that of an undisturbed run.
    """
    words = (
        "evaluate",
        "--edit",
        edit,
        "--model",
        folder,
        "--extent",
        "short",
        "--steps",
        "6",
        "--json",
        "--out",
    )
    with CommandProcess(*words, "cut", folder=tmp_path) as process:
        until = time.monotonic() + 120
        while (
            (kept := len(list(cache_folder().rglob("*.png")))) < 40
            and process.runs()
            and time.monotonic() < until
        ):
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        code = process.wait()
    assert code == -signal.SIGKILL, "it came to its end before anybody could kill it"
    assert kept >= 40
    assert not (tmp_path / "cut").exists()

    kept, made, write = len(list(cache_folder().rglob("*.png"))), [], gallery.write_image
    monkeypatch.setattr(
        gallery, "write_image", lambda file, image: made.append(file) or write(file, image)
    )
    going_on = without_times(run(*words, "cut")[1])
    total = len(list(cache_folder().rglob("*.png")))
    assert len(made) == total - kept > 0, "what is missing, and nothing twice"
    monkeypatch.setenv("UNCONCEPT_CACHE", str(tmp_path / "another-cache"))
    assert without_times(run(*words, "undisturbed")[1]) == going_on


@pytest.mark.usefixtures("few_images")
def test_an_edit_that_does_nothing_has_exit_code_3(run, tmp_path, folder, quick):
    quick.write_text(quick.read_text().replace("lr: 1.0e-4", "lr: 1.0e-12"))
    code, out, _ = run(
        "erase",
        "pig",
        "--to",
        "cow",
        "--model",
        folder,
        "--config",
        quick,
        "--steps",
        "2",
        "--out",
        "gone",
    )
    failure = json.loads((tmp_path / "gone" / "report.json").read_text())["failure"]
    assert (code, failure) == (3, "no-op: the images of the concept are nearly the same as before")
    assert " ".join(out.split()).startswith(f"Not erased: {failure.removeprefix('no-op: ')}")


@pytest.mark.usefixtures("few_images")
def test_an_erased_pipeline_of_any_tool_can_be_measured(run, tmp_path, folder, edit):
    """The folder of another tool gives the same scores as the edit that it was made with."""
    assert run("export", edit, "--as", "pipeline", "--model", folder, "--out", "erased")[0] == 0
    (tmp_path / "erased" / "unconcept.json").unlink()  # which another tool does not write
    look = ("--model", folder, "--extent", "short", "--steps", "2", "--json", "--out")
    code, _, err = run("evaluate", "--edit", "erased", *look, "nameless")
    assert code == 2
    assert "unconcept evaluate pig=cow --edit erased" in err
    by_folder, by_edit = (
        json.loads(run("evaluate", "pig=cow", "--edit", "erased", *look, "a")[1]),
        json.loads(run("evaluate", "--edit", edit, *look, "b")[1]),
    )

    def pixels(report):
        return {
            (r["name"], r["group"]): r["after"]
            for r in report["scores"]
            if r["name"].startswith("pixel")
        }

    assert pixels(by_folder) == pytest.approx(pixels(by_edit), abs=2e-3) != {}
    assert by_folder["method"]["name"] is None
    code, _, err = run("evaluate", "pig", "--edit", folder, *look, "same")
    assert code == 2
    assert "the same to the last weight" in err
