"""Text of users is text: in the terminal, in Markdown, in files."""

import io
import json
import logging
import random
import re

import pytest
import torch
from conftest import one_line
from rich.console import Console

from unconcept import Edit, InputError
from unconcept.callbacks import Progress
from unconcept.cli.progress_bar import ProgressBar, describe
from unconcept.cli.show import show
from unconcept.export.model_card import card, concept_words
from unconcept.io import text as texts
from unconcept.io.text import in_code_span, in_markdown, visible
from unconcept.reporting.report import markdown, to_markdown
from unconcept.reporting.terminal import print_report, summary_lines

HOSTILE = (
    "run [/x]",
    "[bold]b[/bold]",
    ":x:",
    "[link=http://evil]a[/link]",
    "\x1b[31mred\x1b[0m",
    "\x1b]0;title\x07",
    "\u202egnp.exe",
    "a\nunconcept: done",
    "a\rb",
    "\x9b31m",
    "\u2028line",
    "\udcff",
    "100 % <b>$x$</b>",
)


def report_about(name: str) -> dict:
    return {
        "schema": 1,
        "concept": [{"erase": name, "alternative": name, "synonyms": [], "keep": []}],
        "method": {"name": name, "settings": {"group": name}},
        "model": {"name": name, "family": "stable-diffusion", "sha256": name},
        "cost": {
            "seconds": 1.0,
            "training_seconds": 1.0,
            "network_calls": 1,
            "peak_memory_bytes": 1,
            "tuned_parameters": 1,
            "edit_bytes": 1,
        },
        "scores": [],
        "settings": {"judge": {"name": name}, "evaluation": "none"},
        "versions": {"unconcept": "0"},
        "warnings": [f'the prompt "{name}" is long'],
        "failure": None,
    }


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_printed_is_what_was_written(capsys, tmp_path, name):
    for full in (False, True):
        print_report(report_about(name), tmp_path / name, full=full)
    shown = capsys.readouterr().out
    assert shown.isprintable() or set(shown) - set(visible(shown)) <= {"\n"}
    assert visible(shown, keep="\n") == shown
    assert f"{visible(tmp_path / name)}/report.html" in shown
    for line in summary_lines(report_about(name), tmp_path):
        assert visible(line) == line


@pytest.mark.parametrize("name", HOSTILE[:-2])
def test_show_prints_names_as_they_are(capsys, tmp_path, name):
    file = tmp_path / "edit.safetensors"
    card = {"method": name, "concepts": [{"erase": name}], "model_sha256": name}
    Edit({"unet.w": torch.ones(2, 2)}, card).save(file)
    show(str(file))
    shown = capsys.readouterr().out
    for label in ("erases   ", "method   ", "model    sha256 "):
        assert label + visible(name) in shown.splitlines()


@pytest.mark.parametrize(
    "content", ["[]", "{}", '{"schema": 1, "failure": 5, "concept": 3}', "[" * 100_000, "5", "\xff"]
)
def test_a_report_that_is_none(tmp_path, content):
    (tmp_path / "report.json").write_text(content, encoding="latin-1")
    with pytest.raises(InputError, match="is not a report"):
        show(str(tmp_path / "report.json"))


def test_the_progress_bar_shows_names_as_they_are(monkeypatch):
    shown = io.StringIO()

    def console(*, stderr: bool = False) -> Console:
        return Console(file=shown, force_terminal=True, width=120, markup=False, emoji=False)

    monkeypatch.setattr("unconcept.cli.progress_bar.plain_console", console)
    with ProgressBar() as bar:
        bar(Progress("[/x] :x: \x07", 1, 2))
    assert r"[/x] :x: \x07 1/2" in shown.getvalue()
    assert describe(Progress("\x1b[1m", 0, 1)) == r"\x1b[1m"


def test_errors_and_notes_are_one_line(run, tmp_path):
    for words in (("show", "no\n\x1b[31mwhere"), ("erase", "pig", "--model", "a\x1bb\u202e")):
        code, out, err = run(*words)
        assert (code, out, one_line(err)) == (2, "", True)
        assert visible(err.rstrip("\n")) == err.rstrip("\n")
    formatter = texts.OneLineFormatter("%(message)s")
    for name, expected in (("unconcept.x", r"a b\x1b"), ("diffusers", "a\nb\\x1b")):
        record = logging.LogRecord(name, logging.WARNING, "", 1, "a\nb\x1b", None, None)
        assert formatter.format(record) == expected


def test_prompts_that_no_file_can_hold(run):
    code, _, err = run("generate", "\udcff", "--model", "owner/name")
    assert (code, one_line(err)) == (2, True)
    assert "UTF-8" in err


@pytest.mark.parametrize("seed", range(10))
def test_visible_text_never_acts(seed):
    """Property: printable stays, all else is an escape that Python reads back."""
    chance = random.Random(seed)
    for _ in range(100):
        text = "".join(
            chr(chance.choice((chance.randrange(0x300), chance.randrange(0x2100)))) * 1
            for _ in range(20)
        )
        shown = visible(text)
        assert visible(shown) == shown
        assert not re.search(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]", shown)
    assert visible("é 猪 🐷 [b] :x:") == "é 猪 🐷 [b] :x:"


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "[a](http://evil.example)",
        "![a](http://evil.example/x.png)",
        "# heading",
        "---",
        "a | b",
        "`code`",
        "**bold** _it_ ~~no~~",
        "$x$",
        "https://evil.example www.evil.example",
        "- item",
        "1. item",
        "&lt;b&gt;",
        "a\n\n# b",
    ],
)
def test_markdown_of_users_does_not_act(text):
    """Everything of the user's is within one text node: signs are escaped or entities."""
    line = in_markdown(text)
    assert "\n" not in line
    assert not re.search(r"<\w|(?<!\\)[`|*$]|(?<!\\)\]\(|(?<!\\)://|^(#|---|- |1\. )", line)
    page = to_markdown(report_about(text), [])
    assert not re.search(r"<(script|img|b)\b|(?<!\\)\]\(http", page)
    readme = card(report_about(text), text, text)
    body = readme.split("---\n", 2)[2] if not text.startswith("---") else readme
    assert not re.search(r"^(# heading|# b)$", body, re.MULTILINE)
    for part in re.sub(r"`[^`\n]*`|^    .*$", "", body, flags=re.MULTILINE).splitlines():
        assert not re.search(r"<(script|img)\b|(?<!\\)\]\(http://evil", part)


def test_plain_words_stay_plain_in_markdown():
    for text in (
        "pig → cow, on emoji, by all-but-one",
        "12.5 % [1.0, 2.0]",
        "-95.0 [-99.1, -70.4]",
    ):
        assert in_markdown(text) == text
    assert markdown(("a_b",), [("edit_sha256",)]).count("\\") == 0
    assert in_code_span("sd-v1.4") == "`sd-v1.4`"
    assert in_code_span("a`b") == "`` a`b ``"
    assert concept_words([{"erase": "pig", "alternative": "cow"}])["instead"] == (
        ", with *cow* in place of *pig*"
    )


def test_titles_of_figures_are_not_formulas(tmp_path):
    from unconcept.evaluation.frontier import Point
    from unconcept.reporting.frontier_plot import plot

    plot({"a $\\frac$": [Point(0.5, 0.5, 1.0)]}, str(tmp_path / "f.png"), "$\\nothing{$")
    assert (tmp_path / "f.png").exists()
    assert json.loads(json.dumps("$x$")) == "$x$"
