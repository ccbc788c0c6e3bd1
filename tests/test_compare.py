"""Several settings side by side, and the plane of removed against kept."""

import json

import pytest
import torch

from unconcept import Concept
from unconcept.frontier import Point, area, plot, point
from unconcept.questions import Plain


def test_area_by_hand():
    """Nothing removed: 0. Everything removed, nothing else moved: 1. Half removed at no cost, then all of it at half: 0.5 + 0.25."""
    assert area([]) == 0.0
    assert area([Point(1, 0.0, 1.0)]) == 0.0
    assert area([Point(1, 1.0, 1.0)]) == 1.0
    assert area([Point(0.5, 0.5, 1.0), Point(1, 1.0, 0.5)]) == 0.75
    assert area([Point(0.5, 0.5, 0.2), Point(1, 1.0, 0.5)]) == 0.5, "a worse point below a better one does not count"


def test_a_point_by_hand():
    """Two of four concept pictures still show it: half removed. The rest moved by .05 of the .2 that another seed moves: three quarters kept."""
    exam = Plain([Concept(erase="pig", alternative="cow")], ("cat",), {"target": 4, "unrelated": 4})
    exam.marks = lambda p: {"concept": torch.tensor([p[i].mean() > 0.5 for i in range(4)] + [torch.nan] * 4).float()}
    before = torch.ones(8, 3, 8, 8)
    after = before.clone()
    after[:2], after[4:] = 0.0, 0.95
    found = point(exam, 1.0, before, after, other_seed=0.2)
    assert (found.removed, found.kept) == (0.5, pytest.approx(0.75))


def test_the_plot_is_drawn(tmp_path):
    plot({"one": [Point(1, 0.9, 0.8)], "two": [Point(1, 0.5, 0.5)]}, str(tmp_path / "frontier.png"), "pig → cow")
    assert (tmp_path / "frontier.png").stat().st_size > 5000


def test_compare(run, tmp_path, folder, quick):
    """Two settings of one method; what is wrong with one is said before either runs."""
    (tmp_path / "joint.yaml").write_text(quick.read_text().replace("settings:\n", "settings:\n  surgical: false\n"))
    words = ("compare", "pig", "--to", "cow", "--model", folder, "--out", "both")
    code, out, err = run(*words, "--methods", "quick.yaml,joint.yaml", "--json")
    assert code == 0, err
    result = json.loads(out)
    assert [m["name"] for m in result["methods"]] == ["quick", "joint"]
    assert [m["settings"]["surgical"] for m in result["methods"]] == [True, False]
    assert all(m["cost"]["network_calls"] > 0 for m in result["methods"])
    assert all(m["area"] is None for m in result["methods"]), "nobody can say what is removed"
    assert {p.name for p in (tmp_path / "both").iterdir()} == {
        "compare.json", "compare.md", "compare.html", "compare.png", "quick.safetensors", "joint.safetensors",
    }  # fmt: skip
    assert "http" not in (tmp_path / "both" / "compare.html").read_text()
    assert run(*words, "--methods", "quick.yaml,nobody")[0] == 2
    (tmp_path / "small.yaml").write_text("quantize: nf4\n")
    code, _, err = run(*words, "--methods", "quick.yaml,small.yaml")
    assert (code, "small.yaml is for erase" in err) == (2, True)
