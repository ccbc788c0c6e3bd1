"""The scripts of benchmarks/ still fit the package: their options, settings and prompts."""

import importlib
import sys
from collections import Counter
from pathlib import Path

import pytest
from support.command_process import ForkedProcess, processes
from support.script_options import show_options

from unconcept import load
from unconcept.profiling.usage import count_calls

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "benchmarks"
SCRIPTS = [file.stem for file in sorted(FOLDER.glob("*.py")) if "def main()" in file.read_text()]
PATHS = [str(FOLDER), str(ROOT / "tests"), str(ROOT / "src")]

pytestmark = pytest.mark.skipif(not FOLDER.exists(), reason="a source archive has no benchmarks")


@processes
def test_every_script_is_imported_and_shows_its_options():
    """In a process of its own, since the scripts import each other by their bare names."""
    assert len(SCRIPTS) >= 15
    with ForkedProcess(show_options, PATHS, SCRIPTS) as process:
        printed = process.stderr.read()
        assert process.wait() == 0, printed


@pytest.fixture
def pairs(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    yield importlib.import_module("pairs")
    for name in ("pairs", "pair_cases", "pair_figures", "pair_prompts", "authors_code", "common"):
        sys.modules.pop(name, None)


def test_cases_of_pairs(pairs):
    used_before = importlib.import_module("pair_cases").USED_BEFORE
    cases = pairs.draw_cases()
    assert Counter(case.half for case in cases) == {"reporting": 41, "tuning": 39}
    assert len({case.name for case in cases}) == len(cases)
    for case in cases:
        if case.half == "reporting":
            assert case.erase not in used_before


def test_prompts_of_a_pair(pairs):
    """As many as the module's docstring says, or every fourth of them; no image is sampled."""
    model = load("emoji")
    case = next(case for case in pairs.draw_cases() if case.kind == "near")
    with count_calls(model) as calls:
        exam = pairs.build_exam(model, case)
        short = pairs.thinned(exam, 4)
    groups = Counter(case.group for case in exam.cases)
    assert groups["target"] + groups["synonym"] >= 40
    assert groups["neighbour"] >= 40
    assert groups["unrelated"] == 20
    assert Counter(case.group for case in short.cases) == {
        "target": 8,
        "synonym": 3,
        "neighbour": 12,
        "unrelated": 5,
    }
    assert all(case.instead for case in exam.cases if case.group in ("target", "synonym"))
    assert calls["n"] == 0
