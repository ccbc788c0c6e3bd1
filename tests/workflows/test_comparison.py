"""Several settings side by side, and the trade-off of removed against kept."""

import base64
import json
import re
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
from support.samples_schema import read_samples

from unconcept import Concept, Edit
from unconcept.config.options import Look
from unconcept.edits.adapters import KINDS, Eraser
from unconcept.evaluation.frontier import Point, area, point
from unconcept.evaluation.prompt_benchmark import PromptBenchmark
from unconcept.evaluation.scores import PIXELS, find_score
from unconcept.models.families.stable_diffusion import StableDiffusion
from unconcept.reporting.frontier_plot import plot
from unconcept.reporting.report import format_value, markdown
from unconcept.workflows.comparison import compare
from unconcept.workflows.comparison_folder import table

DOCS = (Path(__file__).parents[2] / "docs/reference/report-json.md").read_text()
PIG = Concept(erase="pig", alternative="cow", keep=("cat",))
LIGHTER = Edit({"unet.conv_out.bias": torch.tensor([0.0, -3.0, 0.0, 0.0])})


def check(result: dict) -> None:
    """compare.json, schema 1: every key that the documentation names, and no other."""
    section = DOCS.split("## compare.json, schema 1")[1].split("\n## ")[0]

    def named(key):
        return re.search(rf"`{key}`[^`]*`\{{([^}}]*)\}}`", section)[1].split(", ")

    assert list(result) == re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
    assert result["schema"] == 1
    for key in ("model", "settings"):
        assert list(result[key]) == named(key), key
    for concept in result["concept"]:
        assert list(concept) == named("concept")
    for method in result["methods"]:
        assert list(method) == named("methods")
        assert list(method["cost"]) == named("cost")
        assert (method["area"] is None) == (method["frontier"] == [])
        assert all(list(p) == named("frontier") for p in method["frontier"])
    json.dumps(result, allow_nan=False)


def by_light(images: torch.Tensor, names: list[str]) -> torch.Tensor:
    """A judge: a dark image shows a pig, a light one a cow."""
    return torch.eye(len(names))[
        [names.index("cow" if p.mean() > 0.549 else "pig") for p in images]
    ]


@pytest.fixture
def side_by_side(monkeypatch, folder, tmp_path):
    """compare() with that judge, of three finished edits.

    The first makes every image lighter, the second half as much, the third does nothing.
    """
    monkeypatch.setattr("unconcept.workflows.comparison.features_or_none", lambda: None)
    methods = {
        name: lambda *_, progress, s=s: LIGHTER.scale(s)
        for name, s in (("whole", 1.0), ("half", 0.5), ("nothing", 0.0))
    }

    def command(out: str, **given) -> dict:
        look = Look(judge=by_light, steps=2)
        return compare(
            [PIG],
            methods,
            model=str(folder),
            out=tmp_path / out,
            look=look,
            cache=tmp_path / "cache",
            **given,
        )

    return command


def test_area_by_hand():
    """Nothing removed: 0. All removed, nothing else moved: 1.

    Half removed at no cost, then all of it at half: 0.5 + 0.25.
    """
    assert area([]) == 0.0
    assert area([Point(1, 0.0, 1.0)]) == 0.0
    assert area([Point(1, 1.0, 1.0)]) == 1.0
    assert area([Point(0.5, 0.5, 1.0), Point(1, 1.0, 0.5)]) == 0.75
    assert area([Point(0.5, 0.5, 0.2), Point(1, 1.0, 0.5)]) == 0.5, (
        "a worse point below a better one does not count"
    )


def test_a_point_by_hand():
    """Two of four target images still show the concept: half is removed.

    The rest moved by 0.05 of the 0.2 that another seed moves: three quarters are kept.
    """
    benchmark = PromptBenchmark(
        [Concept(erase="pig", alternative="cow")], ("cat",), {"target": 4, "unrelated": 4}
    )
    benchmark.marks = lambda p: {
        "concept": torch.tensor([p[i].mean() > 0.5 for i in range(4)] + [torch.nan] * 4).float()
    }
    before = torch.ones(8, 3, 8, 8)
    after = before.clone()
    after[:2], after[4:] = 0.0, 0.95
    found = point(benchmark, 1.0, before, after, other_seed=0.2)
    assert (found.removed, found.kept) == (0.5, pytest.approx(0.75))


def test_the_plot_is_drawn(tmp_path):
    assert plot(
        {"one": [Point(1, 0.9, 0.8)], "two": [Point(1, 0.5, 0.5)]},
        str(tmp_path / "frontier.png"),
        "pig → cow",
    )
    assert (tmp_path / "frontier.png").stat().st_size > 5000


@pytest.mark.usefixtures("few_images")
def test_compare(run, tmp_path, folder, quick):
    """Two settings of one method; what is wrong with one is reported before either runs."""
    (tmp_path / "joint.yaml").write_text(
        quick.read_text().replace("settings:\n", "settings:\n  surgical: false\n")
    )
    few = ("--model", folder, "--steps", "2")
    words = ("compare", "pig", "--to", "cow", *few, "--out", "both")
    code, out, err = run(*words, "--methods", "quick.yaml,joint.yaml", "--json")
    assert code == 0, err
    result = json.loads(out)
    check(result)
    assert [m["name"] for m in result["methods"]] == ["quick", "joint"]
    assert [m["settings"]["surgical"] for m in result["methods"]] == [True, False]
    assert all(m["cost"]["network_calls"] > 0 for m in result["methods"])
    assert all(m["area"] is None for m in result["methods"]), "nobody can say what is removed"
    assert {p.name for p in (tmp_path / "both").iterdir()} == {
        "compare.json",
        "compare.md",
        "compare.html",
        "compare.png",
        "quick.safetensors",
        "joint.safetensors",
        "samples.jsonl",
        "images",
    }
    records = read_samples(tmp_path / "both")
    assert Counter(record["method"] for record in records) == dict.fromkeys(
        (None, "quick", "joint"), len(records) // 3
    )
    assert any(record["file"] for record in records)
    assert "http" not in (tmp_path / "both" / "compare.html").read_text()
    words = ("compare", "pig", "--to", "cow", *few, "--out", "neither", "--methods")
    code, _, err = run(*words, "quick.yaml,nobody")
    assert (code, "nobody" in err) == (2, True)
    (tmp_path / "small.yaml").write_text("quantize: nf4\n")
    code, _, err = run(*words, "quick.yaml,small.yaml")
    assert (code, "small.yaml is for erase" in err) == (2, True)


def test_removed_against_kept(side_by_side, tmp_path):
    """The edit turns pigs into cows, and moves all images alike.

    Half of it is the same edit, whether scaled or trained so.
    """
    result = side_by_side("plane")
    check(result)
    whole, half, nothing = result["methods"]

    def row(name, group):
        return find_score(whole["scores"], name, group)

    seen, seed = (
        row("concept", "target"),
        row(f"control, another seed: {PIXELS}", "structure")["after"],
    )
    least, most = sorted(row(PIXELS, group)["after"] for group in ("neighbour", "unrelated"))
    dialled, trained = whole["frontier"]
    assert (dialled["strength"], trained["strength"]) == (0.5, 1.0)
    assert trained["removed"] == pytest.approx(1 - seen["after"] / seen["before"], abs=1e-3)
    assert trained["removed"] > 0.9
    assert 1 - most / seed - 1e-3 < trained["kept"] < 1 - least / seed + 1e-3
    assert 0 < trained["kept"] < 1
    assert dialled == {**half["frontier"][1], "strength": 0.5}
    assert half["frontier"][0]["kept"] > dialled["kept"] > trained["kept"]
    assert nothing["frontier"] == [{"strength": s, "removed": 0.0, "kept": 1.0} for s in (0.5, 1.0)]
    by_hand = (
        dialled["removed"] * dialled["kept"]
        + (trained["removed"] - dialled["removed"]) * trained["kept"]
    )
    assert (whole["area"], nothing["area"]) == (pytest.approx(by_hand), 0.0)

    header, lines = table(result)
    assert [line[header.index("calls per image")] for line in lines] == ["–", *["4"] * 3], (
        "two steps, guided; of the untouched model nothing"
    )
    assert [line[0] for line in lines] == ["before", *(m["name"] for m in result["methods"])]
    assert lines[0][header.index("concept left")] == format_value(seen["before"], "concept")
    assert [line[header.index("area")] for line in lines] == [
        "–",
        *(f"{m['area']:.2f}" for m in result["methods"]),
    ]
    assert markdown(header, lines) in (tmp_path / "plane/compare.md").read_text()
    drawn = base64.b64encode((tmp_path / "plane/frontier.png").read_bytes()).decode()
    assert drawn in (tmp_path / "plane/compare.html").read_text()


@pytest.mark.usefixtures("few_images")
def test_without_matplotlib_the_page_says_so(side_by_side, monkeypatch, tmp_path):
    """The areas are there all the same."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert side_by_side("bare")["methods"][0]["area"] > 0
    assert not (tmp_path / "bare/frontier.png").exists()
    assert (
        "The figure needs matplotlib: pip install unconcept[evaluate]"
        in (tmp_path / "bare/compare.html").read_text()
    )


@pytest.mark.usefixtures("few_images")
def test_a_second_run_samples_nothing(side_by_side, monkeypatch):
    first = side_by_side("first")
    monkeypatch.setattr(
        StableDiffusion, "sample", lambda *_, **__: pytest.fail("these images are in the cache")
    )
    again = side_by_side("again")
    for one, other in zip(first["methods"], again["methods"]):
        assert (one["frontier"], one["scores"]) == (other["frontier"], other["scores"])


def test_a_dialled_edit_is_another_one():
    """For the cache: whatever an edit is made of, its fingerprint differs by strength."""
    adapters = [
        Eraser(4, 2),
        *(KINDS[kind].of({"strength": torch.ones(())}) for kind in KINDS if kind != Eraser.kind),
    ]
    for edit in (LIGHTER, *(Edit({}, {}, {"unet": adapter}) for adapter in adapters)):
        quarter, half, whole = (edit.scale(s).fingerprint() for s in (0.25, 0.5, 1.0))
        assert len({quarter, half, whole}) == 3
        assert whole == edit.fingerprint()


@pytest.mark.usefixtures("all_names_known")
def test_own_prompts_are_asked_besides(run, tmp_path, folder, quick):
    (tmp_path / "own.csv").write_text(
        "prompt,seed,group\na pig on the moon,7,target\na red barn,,unrelated\n"
    )
    code, out, err = run(
        "compare",
        "pig",
        "--to",
        "cow",
        "--model",
        folder,
        "--out",
        "own",
        "--methods",
        "quick.yaml",
        "--prompts",
        "own.csv",
        "--steps",
        "2",
        "--json",
    )
    assert code == 0, err
    scores = json.loads(out)["methods"][0]["scores"]
    assert [find_score(scores, PIXELS, group)["n"] for group in ("target", "unrelated")] == [21, 13]
    page = (tmp_path / "own/compare.html").read_text()
    assert "a pig on the moon" in page
    assert "a red barn" in page
    assert (
        run(
            "compare",
            "pig",
            "--model",
            folder,
            "--out",
            "other",
            "--methods",
            "quick.yaml",
            "--prompts",
            "none.csv",
        )[0]
        == 2
    )


@pytest.mark.usefixtures("few_images")
def test_a_method_that_cannot_says_why_and_the_others_go_on(run, tmp_path, folder, quick):
    words = ("compare", "pig", "--model", folder, "--steps", "2", "--json", "--methods")
    code, out, err = run(*words, "concept-ablation,quick.yaml", "--out", "some")
    assert code == 0, err
    result = json.loads(out)
    check(result)
    assert [m["name"] for m in result["methods"]] == ["quick"]
    (name, reason), *others = result["refused"].items()
    assert (name, others) == ("concept-ablation", [])
    assert "anchor" in reason
    assert all(
        reason in (tmp_path / "some" / f"compare.{form}").read_text().replace("&#34;", '"')
        for form in ("md", "html")
    )
    code, _, err = run(*words, "concept-ablation", "--out", "none")
    assert (code, "needs an anchor" in err, (tmp_path / "none").exists()) == (2, True, False)
