"""The documentation: generated pages are up to date, commands parse, Python blocks run."""

import re
import shlex
import sys
from pathlib import Path

import pytest

from docs.generator import DOCS, generated_pages
from unconcept import Concept, Edit, load
from unconcept.cli.commands import app
from unconcept.methods import UCE

ROOT = DOCS.parent
GENERATED = generated_pages()
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
SHORT = (
    "AllButOne(start='none', rounds=1, trajectories=4, points=2, sampling_steps=2, "
    "tune=Tune(steps=2, batch_size=2))"
)


@pytest.mark.parametrize("path", GENERATED, ids=str)
def test_generated_pages_are_up_to_date(path):
    if path.stem == "command-line" and sys.version_info < (3, 11):
        pytest.skip("Python 3.10 has an older cyclopts, which words the page in another way")
    assert (DOCS / path).read_text(encoding="utf-8") == GENERATED[path], "run: make docs-pages"


def commands() -> list[str]:
    """Every indented line of a page, and every line of a table, that types a command."""
    found = []
    for page in PAGES:
        for line in page.read_text(encoding="utf-8").splitlines():
            if line.startswith(("    unconcept ", "    torchrun ")):
                found.append(line.strip().partition("  #")[0].partition("unconcept ")[2])
            found += re.findall(
                r"`unconcept ((?:erase|evaluate|compare|generate|purify|export|show) [^`]*)`", line
            )
    return found


def test_commands_of_the_pages_are_commands():
    """The command line knows every option and argument that a page tells to type."""
    lines = [
        line for line in commands() if "..." not in line and not re.search(r"\b[A-Z]{4,}\b", line)
    ]
    assert len(lines) > 40
    for line in lines:
        app.parse_args(shlex.split(line), exit_on_error=False, print_error=False)


def blocks() -> list:
    found = []
    for page in PAGES:
        codes = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
        found += [pytest.param(code, id=f"{page.stem}-{i}") for i, code in enumerate(codes)]
    return found


@pytest.fixture(scope="module")
def closed_form(folder) -> Edit:
    """An edit of the small model."""
    return UCE()(load(str(folder)), Concept(erase="pig", alternative="cow"))


@pytest.mark.parametrize("code", blocks())
def test_python_blocks_run(code, folder, closed_form, tmp_path, monkeypatch):
    """As they stand, but for the model (a small one), the edit, and a short training."""
    monkeypatch.chdir(tmp_path)
    closed_form.save(tmp_path / "erased/edit.safetensors")
    code = re.sub(r'"(emoji|path/to/model)"', repr(str(folder)), code)
    code = re.sub(r'"(unconcept-out/demo|no-van-gogh)"', '"erased"', code)
    code = code.replace("AllButOne()", SHORT)
    code = code.replace('style")', 'style", num_inference_steps=2)') if "pipe(" in code else code
    exec("from unconcept import Tune\n" + code, {"__name__": "block"})


def test_the_readme_starts_with_its_own_pipeline_and_saves_the_edit():
    code = (
        (ROOT / "README.md")
        .read_text(encoding="utf-8")
        .partition("```python\n")[2]
        .partition("```")[0]
    )
    assert "path/to/model" in code
    assert 'edit.save("edit.safetensors")' in code


def test_the_readme_is_short_and_its_files_exist():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    missing = [
        target for target in re.findall(r"\]\(([^)#:]+)\)", text) if not (ROOT / target).exists()
    ]
    assert not missing


def test_result_pages_begin_with_what_they_were_measured_on():
    for page in sorted((DOCS / "results").glob("*.md")):
        if page.stem != "index":
            assert page.read_text(encoding="utf-8").splitlines()[2].startswith("> "), page


def test_every_csv_file_of_results_has_the_same_columns():
    files = sorted((DOCS / "results").glob("*.csv"))
    assert len(files) > 8
    for file in files:
        first = file.read_text(encoding="utf-8").partition("\n")[0]
        assert first == "case,setting,measure,group,before,after,low,high,n,note", file


def test_paths_that_are_named_in_pages_exist():
    """`src/...`, `benchmarks/...` and `tests/...` in the pages, the README and CONTRIBUTING."""
    for page in PAGES:
        for name in re.findall(
            r"(?:src|benchmarks|tests|examples)/[\w./-]*\w", page.read_text(encoding="utf-8")
        ):
            if "<" not in name and "NAME" not in name:
                assert (ROOT / Path(name)).exists(), f"{page}: {name}"
