"""Every example runs: scripts on a small model, configuration files as a dry run."""

import importlib
from pathlib import Path

import pytest
from support.tiny_pipelines import TINY

from unconcept.evaluation import runner

FOLDER = Path(__file__).parents[2] / "examples"
SCRIPTS = {
    "erase_concept": ("--quick",),
    "own_pipeline": ("--quick",),
    "combine_edits": (),
    "custom_judge": ("--quick",),
    "custom_method": (),
    "export_lora": ("--quick", "--rank", "2"),
}
CONFIGURATIONS = {
    "several-concepts.yaml": None,  # the embedded model
    "style.yaml": "stable-diffusion",
    "sdxl-12gb.yaml": "stable-diffusion-xl",
    "flux-24gb.yaml": "flux",
    "closed-form.yaml": None,
    "adversary.yaml": None,
}


def test_every_example_is_tested_and_listed():
    assert {file.stem for file in FOLDER.glob("*.py")} == set(SCRIPTS)
    assert {file.name for file in FOLDER.glob("*.yaml")} == set(CONFIGURATIONS)
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    for name in [*(f"{script}.py" for script in SCRIPTS), *CONFIGURATIONS]:
        assert f"`{name}`" in readme


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_run(name, folder, run, tmp_path, monkeypatch, capsys):
    """With few images: `run` leaves the second feature space out."""
    monkeypatch.setitem(runner.CASES_PER_GROUP, "short", {"target": 2, "unrelated": 2})
    monkeypatch.setitem(runner.CONTROLS, "short", 1)
    script = importlib.import_module(f"examples.{name}")
    script.main(["--model", str(folder), *SCRIPTS[name]])
    assert "unconcept-out" in capsys.readouterr().out
    assert list(tmp_path.rglob("*.safetensors"))


@pytest.mark.parametrize(("file", "family"), CONFIGURATIONS.items())
def test_configurations_are_valid(file, family, run, tmp_path):
    own_model = ()
    if family:
        TINY[family]().save_pretrained(tmp_path / "own")
        own_model = ("--model", tmp_path / "own")
    code, out, err = run("erase", "--config", FOLDER / file, *own_model, "--dry-run")
    assert code == 0, err
    assert "memory" in out
