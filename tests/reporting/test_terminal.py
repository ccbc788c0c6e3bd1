"""The end of a run in the terminal: a verdict, and at most twenty lines of eighty columns."""

from pathlib import Path

import pytest
from reporting.test_html import SCORES, report_of, score_row

from unconcept.evaluation.scores import PIXELS
from unconcept.reporting.terminal import print_report, summary_lines
from unconcept.reporting.verdict import judge_verdict, tiles

FULL = [
    *SCORES,
    score_row("concept", "synonym", 1.0, 0.0, [0.0, 0.1], "lower"),
    score_row("concept", "implied", 0.5, 0.0, [0.0, 0.1], "lower"),
    score_row("right", "neighbour", 1.0, 1.0, [0.8, 1.0], "higher", n=15),
    score_row(PIXELS, "neighbour", None, 0.006, [0.003, 0.008], "lower"),
]


def changed(name, group, **values) -> list[dict]:
    return [
        {**score, **values} if (score["name"], score["group"]) == (name, group) else score
        for score in FULL
    ]


NOTES = [
    f"note {i}, which is longer than a line of eighty columns, as notes of a run are in practice"
    for i in range(5)
]


@pytest.mark.parametrize(
    "failure", [None, "no-op: the concept is still in 90% of its images (before: 95%)"]
)
@pytest.mark.parametrize("notes", [0, 1, 5])
def test_twenty_lines_of_eighty_columns(failure, notes):
    report = {**report_of(FULL, evaluation="short"), "failure": failure, "warnings": NOTES[:notes]}
    lines = summary_lines(report, Path("unconcept-out/pig"))
    assert len(lines) <= 20
    assert all(len(line) <= 80 for line in lines), lines
    text = "\n".join(lines)
    for part in (
        "1 of 50",
        "47 of 50",
        "another seed: 0.100",
        "unconcept-out/pig/before-after.png | report.html | edit.safetensors",
    ):
        assert part in text
    assert ("note" in text) == bool(notes)


def test_notes_are_whole_where_they_fit():
    report = {**report_of(FULL[:2]), "warnings": NOTES[:2]}
    text = "\n".join(summary_lines(report, Path("x")))
    for note in NOTES[:2]:
        assert f"note: {note}" in text.replace("\n      ", " ")


def test_what_to_do_next():
    """Commands that can be copied; after a failure what to try instead."""
    own = {"name": "my models/sd", "family": "stable-diffusion", "sha256": "ab" * 32}
    report = {**report_of(FULL, evaluation="short"), "model": own}
    lines = summary_lines(report, Path("unconcept-out/pig"))
    model = "--edit unconcept-out/pig --model 'my models/sd'"
    assert f"try it: unconcept generate pig {model} --compare" in lines
    assert any(line.endswith(f": unconcept evaluate {model}") for line in lines)
    failed = summary_lines({**report, "failure": "collapse: blank"}, Path("unconcept-out/pig"))
    assert any(line.startswith("what to try: fewer steps") for line in failed)
    assert not any("unconcept generate" in line for line in failed)


def test_an_evaluation_has_no_edit_of_its_own():
    report = report_of(FULL)
    report["cost"]["training_seconds"] = None
    assert summary_lines(report, Path("x"))[-1] == "x/before-after.png | report.html"


def test_the_bars_are_drawn_to_scale():
    lines = {
        line.split()[0]: line.count("█")
        for line in summary_lines(report_of(FULL), Path("x"))
        if "█" in line
    }
    assert lines == {"pig": 44, "near": 2, "anything": 1}


def test_everything_is_printed_on_request(capsys):
    report = {**report_of(FULL), "warnings": NOTES}
    print_report(report, Path("x"))
    short = capsys.readouterr().out
    print_report(report, Path("x"), full=True)
    full = capsys.readouterr().out
    assert "selectivity" in full
    assert "selectivity" not in short
    for line in NOTES:
        assert line in full.replace("\n", " ")


@pytest.mark.parametrize(
    ("scores", "outcome", "text"),
    [
        (FULL, "good", "Erased"),
        (
            changed("concept", "target", after=0.2, ci95=[0.11, 0.33]),
            "doubtful",
            "Partly erased: pig is still in 10 of 50 images (before: 49)",
        ),
        (
            changed("concept", "synonym", after=0.2, ci95=[0.11, 0.33]),
            "doubtful",
            "prompted by its synonyms, is still in 10 of 50",
        ),
        (
            changed("right", "neighbour", after=0.8, ci95=[0.5, 0.9]),
            "doubtful",
            "Erased, but near neighbours suffered: right in 12 of 15",
        ),
        (changed("right", "neighbour", after=14 / 15, ci95=[0.7, 1.0]), "good", "Erased"),
        (
            changed("right", "unrelated", after=0.7, ci95=[0.5, 0.8]),
            "doubtful",
            "Erased, but unrelated images suffered",
        ),
        ([s for s in FULL if s["name"] not in ("concept", "alternative")], "unknown", "Not scored"),
        ([], "unknown", "Not evaluated"),
    ],
)
def test_the_verdict(scores, outcome, text):
    verdict = judge_verdict(report_of(scores))
    assert verdict.outcome == outcome
    assert text in verdict.text


def test_a_proven_loss_counts_however_small():
    scores = changed(
        "right",
        "neighbour",
        before=1.0,
        after=0.96,
        n=500,
        difference={"value": -0.04, "ci95": [-0.06, -0.02]},
    )
    assert "near neighbours suffered: right in 480 of 500" in judge_verdict(report_of(scores)).text


def test_a_failure_is_the_verdict():
    verdict = judge_verdict({**report_of(FULL), "failure": "no-op: pig is still there"})
    assert (verdict.outcome, verdict.text) == ("bad", "Not erased: pig is still there")
    assert (
        judge_verdict({**report_of(FULL), "failure": "collapse: blank"}).text
        == "It did not work: collapse: blank"
    )


def test_without_a_judge_the_rest_is_measured_in_pixels():
    [tile] = tiles(
        report_of([s for s in FULL if s["name"] not in ("concept", "alternative", "right")])
    )
    assert (tile.title, tile.value) == ("rest kept", "0.004")
    assert "another seed: 0.100" in tile.interval
