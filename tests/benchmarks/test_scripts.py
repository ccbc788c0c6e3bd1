"""The scripts of benchmarks/ still fit the package: their options, settings and prompts."""

import importlib
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from unconcept import load
from unconcept.profiling.usage import count_calls

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "benchmarks"
SCRIPTS = [file.stem for file in sorted(FOLDER.glob("*.py")) if "def main()" in file.read_text()]
PATHS = [str(FOLDER), str(ROOT / "tests"), str(ROOT / "src")]

pytestmark = pytest.mark.skipif(not FOLDER.exists(), reason="a source archive has no benchmarks")

# All of them in one process, since importing torch takes longer than everything else. Settings that
# are put together late are put together, too.
PROGRAM = """
import importlib, sys

for name in sys.argv[1:]:
    print(name, file=sys.stderr)
    script = importlib.import_module(name)
    sys.argv = [name, "--help"]
    try:
        script.main()
    except SystemExit as end:
        assert end.code in (0, None), f"{name} ended with {end.code}"
    else:
        raise AssertionError(f"{name} ignores --help")

import gpu_memory, hyperparameter_search as search

for _, settings in gpu_memory.ROWS.values():
    assert gpu_memory.method(settings).trains
for name in search.TRIED:
    for settings in search.candidates(name):
        search.override(search.METHODS[name](), settings, name)
"""


def test_every_script_is_imported_and_shows_its_options():
    assert len(SCRIPTS) >= 15
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(PATHS)}
    command = [sys.executable, "-c", PROGRAM, *SCRIPTS]
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("usage:") == len(SCRIPTS)


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
