"""`unconcept attack`: rows with their controls, a folder, resumed from the cache; wrong input."""

import json

import pytest
import torch
from conftest import one_line

from unconcept.evaluation.recovery import recovered, shown
from unconcept.reporting.attack_report import SHIP_MERGED, statements
from unconcept.workflows import attack_edit
from unconcept.workflows.attack_floor import trained_without


def judge(images, names):
    """The first name in bright images, the last in dark ones."""
    bright = images.mean((1, 2, 3)) > 0.5
    marks = torch.zeros(len(images), len(names))
    marks[bright, 0] = 1
    marks[~bright, -1] = 1
    return marks


@pytest.fixture
def attacked(edit, folder, tmp_path):
    from unconcept.config.options import Look

    path = edit.save(tmp_path / "edit.safetensors")

    def run(attacks="paraphrase,cce,unlearn-diff", **options):
        return attack_edit(
            path,
            model=str(folder),
            out=tmp_path / "out",
            attacks=attacks,
            images=4,
            look=Look(judge=judge, steps=1),
            cache=tmp_path / "cache",
            force=True,
            **options,
        )

    return run


@pytest.fixture(autouse=True)
def short_searches(monkeypatch):
    """One step of every search."""
    from dataclasses import replace

    from unconcept.attacks import catalogue

    short = {
        "cce": dict(steps=1, batch=1),
        "unlearn-diff": dict(timesteps=1, iterations=1, batch=1),
        "relearning": dict(marks=(1,), images=1, batch=1),
    }
    entries = dict(catalogue.ATTACKS)
    for name, settings in short.items():
        entries[name] = replace(entries[name], small=settings)
    monkeypatch.setattr(catalogue, "ATTACKS", entries)


def test_every_row_has_its_controls_and_a_second_run_computes_nothing(
    attacked, folder, tmp_path, monkeypatch
):
    report = attacked(floor=folder)
    rows = {row["attack"]: row for row in report["attacks"]}
    assert list(rows) == ["standard", "paraphrase", "cce", "unlearn-diff"]
    every = {"erased", "untouched", "floor", "none"}
    assert rows["standard"]["shown"].keys() == every - {"none"}
    assert rows["cce"]["shown"].keys() >= {*every, "chance"}
    assert rows["unlearn-diff"]["shown"].keys() >= {*every, "chance", "capacity"}
    assert rows["cce"]["calls"]["backward"] > 0
    for row in rows.values():
        assert row["recovered"]["value"] is None or 0 <= row["recovered"]["value"] <= 1
    assert report["statements"][-1] == SHIP_MERGED
    out = tmp_path / "out"
    assert json.loads((out / "report.json").read_text()) == report
    page = (out / "report.html").read_text()
    assert "unlearn-diff" in page
    assert (out / "samples.png").exists()
    assert "| cce |" in (out / "report.md").read_text()

    from unconcept.models.pipeline_model import PipelineModel

    def nothing(*args, **kwargs):
        raise AssertionError("sampled again")

    monkeypatch.setattr(PipelineModel, "trajectory", nothing)
    again = attacked(floor=folder)
    assert again["attacks"] == report["attacks"]


def test_without_a_floor_nothing_is_called_recovered(attacked):
    report = attacked("relearning")
    for row in report["attacks"]:
        assert row["recovered"]["value"] is None
        assert "--floor" in row["recovered"]["reason"]
    assert any("recovered is not computed" in line for line in report["warnings"])


def test_recovered_by_hand():
    """5 of 10 attacked, 9 of 10 untouched, 1 of 10 on the floor, none plain: (.5 - .1) / .8."""

    def ones(n):
        return torch.tensor([1.0] * n + [0.0] * (10 - n))

    marks = {"erased": ones(5), "untouched": ones(9), "floor": ones(1), "none": ones(0)}
    row = recovered(marks)
    assert row["value"] == pytest.approx(0.5)
    low, high = row["ci95"]
    assert 0 <= low < 0.5 < high <= 1
    assert recovered({**marks, "none": ones(5)})["value"] == 0
    weak = recovered({**marks, "untouched": ones(2)})
    assert weak["value"] is None
    assert "no power" in weak["reason"]
    assert recovered({"erased": ones(5)})["value"] is None
    assert shown(torch.tensor([torch.nan]))["value"] is None
    assert shown(ones(5))["value"] == 0.5


def row(attack, access, value, above, chance=None):
    shares = {"erased": {"value": value, "n": 40, "ci95": [value - 0.1, value + 0.1]}}
    if chance is not None:
        shares["chance"] = {"value": chance, "n": 40, "ci95": [0, 1]}
    difference = {"value": above, "ci95": [above - 0.2, above + 0.2]}
    return {
        "attack": attack,
        "label": "",
        "access": access,
        "shown": shares,
        "above_none": difference,
    }


def test_statements_say_what_was_shown():
    rows = [
        row("paraphrase", "text", 0.1, 0.1),
        row("cce", "weights", 0.5, 0.5, chance=0.1),
        row("noise", "images", 0.5, 0.5, chance=0.5),
    ]
    text, images, weights, merged = statements(rows, has_edit=True)
    assert "was not seen" in text
    assert "was not seen" in images
    assert "can bring the concept back: in up to 50.0 % of 40 images (cce" in weights
    assert merged == SHIP_MERGED


def test_a_floor_that_knows_the_concept_is_refused(attacked, folder, tmp_path):
    import shutil

    from unconcept import InputError

    aware = tmp_path / "aware"
    shutil.copytree(folder, aware)
    (aware / "quality.json").write_text('{"without": ["castle"]}')
    assert trained_without(aware) == ["castle"]
    assert trained_without(folder) is None
    with pytest.raises(InputError, match="trained without castle, but with pig"):
        attacked(floor=aware)


def test_wrong_input_gets_one_line(run, edit, folder, tmp_path):
    path = edit.save(tmp_path / "edit.safetensors")
    code, _, err = run("attack", "--edit", path, "--attacks", "ccf")
    assert code == 2
    assert one_line(err)
    assert 'did you mean "cce"' in err
    code, _, err = run("attack", "pig", "cat", "--edit", path, "--model", folder)
    assert code == 2
    assert one_line(err)
    assert "attacks aim at one" in err


def test_the_command_prints_rows_and_shows_them_again(run, edit, folder, tmp_path):
    path = edit.save(tmp_path / "edit.safetensors")
    words = ("--attacks", "standard", "--images", 4, "--steps", 1, "--out", "attacks")
    code, out, _ = run("attack", "--edit", path, "--model", folder, *words)
    assert code == 0
    assert "Attacks on the erasure of pig → cow by by hand" in out
    assert "standard" in out
    code, again, _ = run("show", "attacks")
    assert code == 0
    assert again == out
