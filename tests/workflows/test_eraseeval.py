"""`unconcept evaluate --protocol eraseeval` on a tiny folder, and wrong input."""

import json

from conftest import one_line


def test_the_protocol_runs_and_says_what_it_could_not_measure(run, edit, folder, tmp_path):
    """Without a judge nothing is accepted: measures are empty, with reasons."""
    path = edit.save(tmp_path / "edit.safetensors")
    words = ("--model", folder, "--extent", "short", "--steps", 1, "--out", "out")
    code, out, _ = run("evaluate", "--edit", path, "--protocol", "eraseeval", *words)
    assert code == 0
    assert "EraseEval: pig → cow" in out
    report = json.loads((tmp_path / "out/report.json").read_text())
    measures = report["eraseeval"]["edit"]
    assert measures["M1"]["value"] is None
    assert "explicit prompt" in measures["M1"]["reason"]
    assert measures["harmonic4"]["value"] is None
    assert "no judge" in report["warnings"][0]
    assert "harmonic4" in (tmp_path / "out/report.md").read_text()
    code, again, _ = run("show", "out")
    assert code == 0
    assert again == out


def test_wrong_input_gets_one_line(run, edit, tmp_path):
    path = edit.save(tmp_path / "edit.safetensors")
    words = ("evaluate", "--edit", path, "--protocol", "eraseeval")
    for more, text in (
        (("--extent", "none"), "needs images"),
        (("--prompts", "none.json"), "does not exist"),
    ):
        code, _, err = run(*words, *more)
        assert code == 2
        assert one_line(err)
        assert text in err
