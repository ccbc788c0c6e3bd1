"""The report as a page, in Markdown and as a figure: all of it is there, nothing is fetched,
and the page stays small.
"""

import base64
import json
import re
import sys

import pytest
import torch
from PIL import Image

from unconcept.evaluation.benchmark import GROUPS, PromptCase
from unconcept.evaluation.runner import Evaluation
from unconcept.evaluation.scores import PIXELS, Scores, unmeasured_score
from unconcept.evaluation.strength_curve import StrengthCurve
from unconcept.reporting import image_files, thumbnails
from unconcept.reporting import report as reports
from unconcept.reporting.html import GLOSSARY, bar, meaning_of, measure_of, pick_spread
from unconcept.reporting.verdict import model_title


def score_row(name, group, before, after, *rest, n=50, **more):
    """A score of report.json; the rest is its interval, and which way is better."""
    ci95, better = (*rest, None)[:2]
    row = {"name": name, "group": group, "before": before, "after": after}
    return {**row, "n": n, "ci95": ci95, "better": better, **more}


SCORES = [
    score_row(
        "concept",
        "target",
        0.98,
        0.02,
        [0.0035, 0.105],
        "lower",
        difference={"value": -0.96, "ci95": [-0.99, -0.86]},
    ),
    score_row("alternative", "target", 0.0, 0.94, [0.8378, 0.9794], "higher"),
    score_row(PIXELS, "target", None, 0.12, [0.09, 0.14], "lower"),
    score_row("right", "unrelated", 0.96, 0.94, [0.8378, 0.9794], "higher", n=49),
    score_row(PIXELS, "unrelated", None, 0.004, [0.003, 0.006], "lower"),
    score_row(f"control, another seed: {PIXELS}", "structure", None, 0.1, [0.08, 0.2]),
    score_row(
        "selectivity, pixel change of target / unrelated",
        "structure",
        None,
        24.3,
        [10.5, 36.6],
        "higher",
    ),
    score_row(
        "KID EffLite0 to the alternative's own pictures",
        "target",
        0.31,
        0.021,
        [0.011, 0.033],
        "lower",
        n=48,
    ),
    score_row("right: a|b", "neighbour", 1.0, 1.0, [0.0945, 1.0], "higher", n=1),
    unmeasured_score(
        "KID EffLite0 to real pictures", "unrelated", "12 images; it takes 16", "lower"
    ).to_json(),
]


def report_of(scores=SCORES, **settings) -> dict:
    return {
        "schema": 1,
        "concept": [{"erase": "pig", "alternative": "cow", "synonyms": [], "keep": []}],
        "method": {"name": "all-but-one", "settings": {"lam": 1.0, "tune": {"steps": 100}}},
        "model": {"name": "emoji", "family": "stable-diffusion", "sha256": "ab" * 32},
        "cost": {
            "seconds": 100.0,
            "training_seconds": 60.0,
            "network_calls": 6000,
            "peak_memory_bytes": 2**30,
            "tuned_parameters": 9,
            "edit_bytes": 99,
        },
        "scores": list(scores),
        "settings": {
            "evaluation": "full",
            "seed": 0,
            "judge": {"object": [0.99, 1000]},
            "edit_sha256": "cd" * 32,
            "prompts_sha256": None,
            **settings,
        },
        "versions": {"unconcept": "1"},
        "warnings": ["mind this"],
        "failure": None,
    }


def natural(size: int) -> torch.Tensor:
    """A bright image [1, 3, H, W] of 1/f noise in all colours: the spectrum of natural images."""
    f = torch.fft.fftfreq(size)
    far = (f[:, None] ** 2 + f**2).sqrt()
    far[0, 0] = 1
    noise = torch.fft.ifft2(
        torch.fft.fft2(torch.randn(3, size, size, generator=torch.Generator().manual_seed(size)))
        / far
    ).real
    return (0.5 + 0.2 * noise / noise.std((1, 2), keepdim=True)).clamp(0, 1)[None]


def cases(n: int) -> list[PromptCase]:
    return [
        PromptCase(f"a prompt as long as such prompts are, number {i}", GROUPS[i % 5], "")
        for i in range(n)
    ]


def written_page(folder, report: dict, images: torch.Tensor) -> str:
    evaluation = Evaluation(Scores(), images, images.flip(3))
    reports.write(folder, report, cases(len(images)), evaluation)
    return (folder / "report.html").read_text()


def encode_once(monkeypatch, module, name: str) -> None:
    """Let an encoder of a module return what it returned before for the same image."""
    encode, known = getattr(module, name), {}

    def remember(sample, *quality):
        (image,) = getattr(sample, "frames", sample)
        key = (image.size, image.tobytes(), *quality)
        if key not in known:
            known[key] = encode(sample, *quality)
        return known[key]

    monkeypatch.setattr(module, name, remember)


@pytest.mark.parametrize(
    ("size", "noise"),
    [(64, natural), (512, natural), (160, lambda size: torch.rand(1, 3, size, size).round())],
)
def test_the_page_is_below_three_megabytes_and_fetches_nothing(tmp_path, size, noise, monkeypatch):
    """For 200 pairs of images that are hard to compress; the last kind is the worst case.

    All pairs are the same one, and each image is encoded once.
    """
    encode_once(monkeypatch, thumbnails, "encode")
    encode_once(monkeypatch, image_files, "encode_webp")
    page = written_page(tmp_path, report_of(), noise(size).expand(200, -1, -1, -1))
    assert len(page.encode()) < 3e6
    assert page.count("<figure>") == 100
    assert "100 of 200 pairs are shown" in page
    assert "http" not in page
    assert not re.search(r"url\(|@import|<link|<iframe", page)
    tags = page.partition("<script>")[0]
    loaded = re.findall(r"""\s(?:src|srcset|poster|data)\s*=\s*["']?([^"'>\s]*)""", tags)
    assert len(loaded) == 200
    linked = re.findall(r"""\shref\s*=\s*["']?([^"'>\s]*)""", tags)
    assert len(linked) == 100
    assert all(re.fullmatch(r"images/\d{3}-after\.webp", file) for file in linked)
    assert all(uri.startswith("data:image/webp;base64,") for uri in loaded)


def test_all_of_few_pairs_are_shown(tmp_path):
    page = written_page(tmp_path, report_of(), natural(64).expand(12, -1, -1, -1))
    assert page.count("<figure>") == 12
    assert "pairs are shown" not in page
    [first, *_] = re.findall(r"base64,([^\"]*)", page)
    assert b"VP8L" in base64.b64decode(first), "small images are stored without loss"


def test_what_is_shown_is_spread_evenly():
    groups = ["target"] * 120 + ["synonym"] * 10 + ["unrelated"] * 70
    shown = pick_spread([PromptCase("", group, "") for group in groups])
    assert shown == sorted(set(shown))
    assert [sum(groups[i] == g for i in shown) for g in ("target", "synonym", "unrelated")] == [
        45,
        10,
        45,
    ]
    assert max(shown[:45]) > 115
    assert pick_spread([]) == []
    assert pick_spread(cases(400), 100) == sorted(pick_spread(cases(400), 100), key=lambda i: i % 5)


def test_every_score_is_in_the_markdown(tmp_path):
    page = written_page(tmp_path, report_of(), natural(64).expand(5, -1, -1, -1))
    lines = (tmp_path / "report.md").read_text().splitlines()
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["scores"] == SCORES, "in the order in which they were measured"
    for words in reports.table(report["scores"]):
        name, change = (
            words["name"].replace("|", "\\|"),
            words["a"] if words["b"] == "–" else f"{words['b']} → {words['a']}",
        )
        name = f"{name} {words['arrow']}".strip()
        assert f"| {name} | {change} | {words['ci']} | {words['d']} | {words['n']} |" in lines
    headings = [line for line in lines if line.startswith("## Scores: ")]
    assert len(headings) == len(set(headings)), "each group once"
    for text in (
        "# pig → cow",
        reports.verdict_sentence(report),
        "> mind this",
        "![scores](scores.png)",
        "![before-after](before-after.png)",
    ):
        assert text in lines
    for key, value in (
        ("edit sha256", "cd" * 32),
        ("prompts sha256", "none"),
        ("model sha256", "ab" * 32),
        ("model family", "stable-diffusion"),
        ("tune.steps", "100"),
    ):
        assert f"| {key} | {value} |" in lines
        assert f"<dt>{key}</dt><dd>{value}</dd>" in page
    assert any("99.0 % (object, n = 1000)" in line for line in lines)


def test_an_interval_without_a_bar_is_there_in_words(tmp_path):
    page = written_page(tmp_path, report_of(), natural(64).expand(5, -1, -1, -1))
    for words, score in zip(reports.table(SCORES), SCORES):
        if measure_of(score["name"]):
            continue  # a control: it is a tick in the lines of its measure
        assert (bar(score, SCORES) is None) == (
            score["after"] is None or score["name"].startswith(("selectivity", "KID"))
        )
        assert f"<span>{words['ci']}</span>" in page


def test_controls_are_ticks_in_the_lines_of_their_measure(tmp_path):
    page = written_page(tmp_path, report_of(), natural(64).expand(5, -1, -1, -1))
    assert page.count("<title>another seed: 0.100 (0.080 – 0.200)</title>") == 2, (
        "of the target and of unrelated images"
    )
    assert "control, another seed" not in page
    assert bar(SCORES[2], SCORES)["ticks"] == [(50.0, "another seed: 0.100 (0.080 – 0.200)")]
    alone = [s for s in SCORES if s["name"] != PIXELS]
    assert "control, another seed" in written_page(
        tmp_path, report_of(alone), natural(64).expand(5, -1, -1, -1)
    ), "a control of nothing is a line"


def test_the_verdict_and_its_tiles_come_first(tmp_path):
    page = written_page(tmp_path, report_of(), natural(64).expand(5, -1, -1, -1))
    places = [
        page.index(text)
        for text in (
            "Erased</p>",
            "1 of 50",
            "47 of 50",
            "46 of 49",
            "<h2>Same seeds",
            "All scores",
            "Cost and settings",
        )
    ]
    assert places == sorted(places)
    assert page.count('class="tile"') == 3


def test_the_slider_is_only_over_the_images(tmp_path):
    """It sticks to the top of its section, and a section ends."""
    page = written_page(tmp_path, report_of(), natural(64).expand(5, -1, -1, -1))
    section = page.partition('<section class="images">')[2].partition("</section>")[0]
    assert section.count('class="wipe"') == page.count('class="wipe"') == 1
    assert '<table class="scores">' not in section
    assert section.count("<figure>") == page.count("<figure>")


def test_every_pair_says_what_it_is(tmp_path):
    page = written_page(tmp_path, report_of(), natural(64).expand(5, -1, -1, -1))
    labels = re.findall(r'<(?:button class="pair"|a class="open")[^>]* aria-label="([^"]*)"', page)
    assert len(labels) == len(set(labels)) == 5 + 5 + 1, "the last is the dialog's"


def test_the_glossary_explains_every_measure():
    assert all(meaning_of(score["name"]) for score in SCORES if not measure_of(score["name"]))
    assert meaning_of("right: cow") == GLOSSARY["right"]
    assert meaning_of("feature change, 1-cos EffLite0") == GLOSSARY["feature change, 1-cos"]


def test_changes_are_drawn_on_the_scale_of_their_kind():
    """Selectivity, a ratio of changes, does not flatten them; where nothing changed nothing is
    divided.
    """
    drawn = bar(SCORES[2], SCORES)
    assert {name: drawn[name] for name in ("low", "high", "now", "then")} == {
        "low": 45.0,
        "high": 70.0,
        "now": 60.0,
        "then": None,
    }
    still = score_row(PIXELS, "target", None, 0.0, [0.0, 0.0])
    assert bar(still, [still])["now"] == 0


def test_the_figure(tmp_path, monkeypatch):
    written_page(tmp_path, report_of(), natural(64).expand(5, -1, -1, -1))
    with Image.open(tmp_path / "scores.png") as image:
        assert image.width == 1650
        assert len(image.convert("RGB").getcolors(10**6)) > 10
    (tmp_path / "scores.png").unlink()
    written_page(
        tmp_path,
        report_of([s for s in SCORES if s["name"] == PIXELS], judge=None),
        natural(64).expand(5, -1, -1, -1),
    )
    assert not (tmp_path / "scores.png").exists(), "no judge, no shares"
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    written_page(tmp_path, report_of(), natural(64).expand(5, -1, -1, -1))
    assert not (tmp_path / "scores.png").exists()
    assert "scores.png" not in (tmp_path / "report.md").read_text()


def test_without_images_there_is_no_table(tmp_path):
    nothing = torch.zeros(0, 3, 1, 1)
    evaluation = Evaluation(Scores(), nothing, nothing)
    reports.write(tmp_path, report_of([], judge=None), [], evaluation)
    assert {p.name for p in tmp_path.iterdir()} == {
        "report.json",
        "report.html",
        "report.md",
        "README.md",
    }
    page = (tmp_path / "report.html").read_text()
    assert '<table class="scores">' not in page
    assert "Not evaluated" in page
    assert "## Scores" not in (tmp_path / "report.md").read_text()


def test_the_concept_at_several_strengths(tmp_path):
    images = natural(64).expand(5, -1, -1, -1)
    rows = [
        {
            "strength": 0.0,
            "concept": {"value": 1.0, "n": 2, "ci95": [0.3, 1.0]},
            "alternative": None,
        },
        {
            "strength": 1.25,
            "concept": {"value": 0.0, "n": 2, "ci95": [0.0, 0.7]},
            "alternative": None,
        },
    ]
    curve = StrengthCurve([0, 3], {0.0: images[:2], 1.25: images[:2]}, rows)
    evaluation = Evaluation(Scores(), images, images)
    reports.write(tmp_path, {**report_of(), "strengths": rows}, cases(5), evaluation, curve)
    page = (tmp_path / "report.html").read_text()
    section = page.partition('<section class="strengths">')[2].partition("</section>")[0]
    assert section.count("<img") == 4
    assert "<td>1.25</td><td>0 of 2</td><td>–</td>" in section
    assert "| 0 | 2 of 2 | – |" in (tmp_path / "report.md").read_text()


@pytest.mark.parametrize(
    ("name", "called"),
    [
        ("emoji", "emoji"),
        ("/home/me/models/sdxl", "sdxl"),
        ("./models/sdxl", "sdxl"),
        ("owner/name", "owner/name"),
        ("models/mine/v2.safetensors", "v2.safetensors"),
    ],
)
def test_pages_do_not_name_paths_of_the_machine(name, called):
    assert model_title(name) == called
