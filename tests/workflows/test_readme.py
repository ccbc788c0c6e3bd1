"""The README's commands for a user's own model, on a folder of every family."""

import json

import pytest
from support.tiny_pipelines import TINY

from unconcept import Edit
from unconcept.evaluation import runner
from unconcept.models import loading as models

KOHYA = ("stable-diffusion", "stable-diffusion-xl")
DISTILLED = ("flux",)


@pytest.fixture(params=TINY)
def mine(request, tmp_path, monkeypatch):
    """(family, the folder).

    The size of a tiny image, which a folder does not store, stays as it was made.
    """
    pipe, opened = TINY[request.param](), models.open_pipeline
    pipe.save_pretrained(tmp_path / "mine")

    def small(*given):
        again = opened(*given)
        if hasattr(pipe, "default_sample_size"):
            again.default_sample_size = pipe.default_sample_size
        return again

    monkeypatch.setattr(models, "open_pipeline", small)
    monkeypatch.setitem(runner.CASES_PER_GROUP, "short", {"target": 2, "unrelated": 2})
    monkeypatch.setitem(runner.CONTROLS, "short", 1)
    return request.param, tmp_path / "mine"


def test_the_lines_of_the_readme(mine, run, quick, tmp_path):
    family, folder = mine
    text = quick.read_text().replace("points: 2", "points: 1")
    quick.write_text(text.replace("sampling_steps: 3", "sampling_steps: 1"))

    def files():
        return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}

    base, few = files(), ("--model", "mine", "--steps", "2")

    def done(*words, codes=(0,)):
        code, out, err = run(*words)
        assert code in codes, err
        return out, err

    _, err = done(
        "erase",
        "van gogh style",
        "--to",
        "dry brushing",
        *few,
        "--config",
        quick,
        "--out",
        "gone",
        codes=(0, 3),
    )
    report = json.loads((tmp_path / "gone/report.json").read_text())
    assert (report["model"]["family"], report["settings"]["steps"]) == (family, 2)
    assert Edit.load(tmp_path / "gone").card["concepts"][0]["alternative"] == "dry brushing"
    said = [
        any("unconditional branch" in line for line in lines)
        for lines in (report["warnings"], done("erase", "pig", "--model", "mine", "--dry-run"))
    ]
    assert said == [family in DISTILLED] * 2, "what stands for ε(∅) is said when it is run"

    done("erase", "pig", "--to", "cow", "--method", "uce", *few, "--out", "closed", codes=(0, 3))
    warnings = json.loads((tmp_path / "closed/report.json").read_text())["warnings"]
    said = [
        any("context embedder alone" in line for line in lines)
        for lines in (
            warnings,
            done("erase", "pig", "--method", "uce", "--model", "mine", "--dry-run"),
        )
    ]
    assert said == [family not in (*KOHYA, "sana")] * 2, (
        "what a closed form leaves is said when it is run"
    )

    done("evaluate", "--edit", "gone", *few, "--extent", "short", "--out", "again", codes=(0, 3))
    done("generate", "a pig", *few, "--edit", "gone", "--images", "1", "--out", "pictures")
    done(
        "purify",
        "pictures/000-seed0.png",
        "--edit",
        "gone",
        *few,
        "--caption",
        "a house in van gogh style",
        "--out",
        "clean",
    )
    assert (tmp_path / "clean/sheet.png").exists()

    done("export", "gone", "--as", "pipeline", "--model", "mine", "--out", "erased")
    done("generate", "a pig", "--model", "erased", "--images", "1", "--steps", "2", "--out", "same")
    done("export", "gone", "--as", "lora", "--rank", "2", "--out", "lora.safetensors")
    _, err = done(
        "export",
        "gone",
        "--as",
        "kohya",
        "--out",
        "kohya.safetensors",
        codes=(0,) if family in KOHYA else (2,),
    )
    assert (
        (tmp_path / "kohya.safetensors").exists() == (family in KOHYA) == ("error at most" in err)
    )
    assert files() == base
