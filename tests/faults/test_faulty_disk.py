"""A disk that fails at every single operation of a run, one after the other.

Whatever fails, the output is whole or as it was before, nothing else is left, and one line says
what happened, with exit code 1. The work itself (models, images, scores) is stubbed: the files are
what this is about.
"""

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image
from support.faulty_files import KINDS, Disk, Fault, faulty_files
from support.stubbed_work import stubbed_work
from support.tiny_pipelines import tiny_pipeline

from unconcept import wrap
from unconcept.cli import progress_bar


@pytest.fixture(scope="module")
def tiny():
    return wrap(tiny_pipeline(), ("cat", "dog"))


@pytest.fixture
def stubbed(run, tiny):
    with stubbed_work(tiny):
        yield run


@dataclass(frozen=True)
class Job:
    """A command, and what it writes beside what is there before."""

    words: tuple
    writes: str


@pytest.fixture
def jobs(folder, edit, tmp_path) -> dict[str, Job]:
    file = edit.save(tmp_path / "edit.safetensors")
    Image.new("RGB", (8, 8)).save(tmp_path / "image.png")
    model = ("--model", folder)
    few = ("--extent", "none", *model)
    words = {
        "erase": ("erase", "pig", "--to", "cow", "--method", "uce", *few),
        "evaluate": ("evaluate", "--edit", file, *few),
        "compare": ("compare", "pig", "--to", "cow", "--methods", "uce", *few),
        "purify": ("purify", tmp_path / "image.png", "--edit", file, *model),
        "generate": ("generate", "a pig", "--images", 1, *model),
        "export pipeline": ("export", file, "--as", "pipeline", *model),
        "export lora": ("export", file, "--as", "lora", "--rank", 4),
        "export kohya": ("export", file, "--as", "kohya"),
    }
    jobs = {}
    for name, command in words.items():
        out = "out.safetensors" if name in ("export lora", "export kohya") else "out"
        jobs[name] = Job((*command, "--out", tmp_path / out), out)
    return jobs


NAMES = (
    "erase",
    "evaluate",
    "compare",
    "purify",
    "generate",
    "export pipeline",
    "export lora",
    "export kohya",
)


def contents(folder: Path) -> dict[str, bytes | None]:
    """Everything below a folder, and what is in it."""
    found = {}
    for path in sorted(folder.rglob("*")):
        found[str(path.relative_to(folder))] = path.read_bytes() if path.is_file() else None
    return found


def sweep(folder: Path, operation: Callable[[], tuple], check: Callable) -> Disk:
    """Run once with a disk that works, then once for every operation that can fail.

    Args:
        folder: Where faults happen; what is there now is put back before every run.
        operation: Runs the command.
        check: Is called with the fault and what the command returned.

    Returns:
        The counts of the run without a fault.
    """
    before = contents(folder)
    with faulty_files(folder, None) as disk:
        code, _, err = operation()
    assert code in (0, 3), err
    for kind in KINDS:
        for number in range(disk.counts[kind]):
            restore(folder, before)
            with faulty_files(folder, Fault(kind, number)) as faulty:
                result = operation()
            assert faulty.failed
            check(Fault(kind, number), result)
    restore(folder, before)
    return disk


@pytest.mark.parametrize("name", NAMES)
def test_every_operation_fails_once(name, stubbed, jobs, tmp_path):
    job = jobs[name]
    before = contents(tmp_path)

    def operation():
        return stubbed(*job.words)

    def check(fault, result):
        code, _, err = result
        assert code == 1, (fault, err)
        assert told_once(err), (fault, err)
        assert "could not be written" in err, (fault, err)
        assert contents(tmp_path) == before, fault

    disk = sweep(tmp_path, operation, check)
    assert disk.counts["write"]
    assert disk.counts["fsync"]
    assert disk.counts["rename"]
    code, _, err = operation()
    assert code in (0, 3), err
    assert (tmp_path / job.writes).exists()


@pytest.mark.parametrize("name", ["purify", "export lora"])
def test_with_force_the_old_result_or_the_new_one_is_there(name, stubbed, jobs, tmp_path):
    """Also where the system cannot exchange two folders in one step."""
    job = jobs[name]
    out = tmp_path / job.writes
    if out.suffix:
        out.write_text("old")
    else:
        out.mkdir()
        (out / "purify.json").write_text("old")
    old = contents(tmp_path)

    def operation():
        return stubbed(*job.words, "--force")

    def check(fault, result):
        code, _, err = result
        now = contents(tmp_path)
        if code == 0:  # the new result has its name, and only what it replaced was in the way
            assert fault.kind == "rename", fault
            assert now.keys() >= old.keys() - {"out/purify.json"}
            assert now != old
            assert not [path for path in now if path.startswith(".")], fault
        else:
            assert code == 1, (fault, err)
            assert told_once(err), (fault, err)
            assert now == old, fault

    sweep(tmp_path, operation, check)


@pytest.mark.parametrize("name", ["evaluate", "purify", "export lora"])
def test_a_signal_at_every_operation(name, stubbed, jobs, tmp_path):
    """Before the operation and after it: what is left is the whole result or nothing, and the line
    says which.
    """
    job = jobs[name]
    before = contents(tmp_path)
    ends = {signal.SIGINT: (130, "interrupted"), signal.SIGTERM: (143, "terminated")}

    def check(fault, result):
        code, _, err = result
        line = err.splitlines()[-1]
        assert (code, line.split()[0].rstrip(";")) == ends[fault.signal], (fault, err)
        now = contents(tmp_path)
        if now == before:
            assert line.endswith("no output was left behind"), (fault, err)
        else:
            assert line.endswith(f"{job.writes} is complete"), (fault, err)
            assert not [path for path in now if Path(path).name.startswith(".")], fault

    with faulty_files(tmp_path, None) as disk:
        assert stubbed(*job.words)[0] in (0, 3)
    operations = [(kind, n) for kind in ("create", "rename") for n in range(disk.counts[kind])]
    for turn, (kind, number) in enumerate(operations):
        for after in (False, True):
            restore(tmp_path, before)
            which = (signal.SIGINT, signal.SIGTERM)[(turn + after) % 2]
            fault = Fault(kind, number, which, after)
            with faulty_files(tmp_path, fault):
                result = stubbed(*job.words)
            check(fault, result)


@pytest.mark.parametrize("name", ["erase", "compare", "purify", "generate"])
def test_a_signal_at_every_report_of_progress(name, stubbed, jobs, tmp_path, monkeypatch):
    job = jobs[name]
    before = contents(tmp_path)
    show = progress_bar.ProgressBar.__call__
    stages = []

    def interrupted(self, progress):
        show(self, progress)
        if progress.stage not in stages:
            stages.append(progress.stage)
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(progress_bar.ProgressBar, "__call__", interrupted)
    seen = -1
    while len(stages) > seen:  # one stage further each time
        seen = len(stages)
        restore(tmp_path, before)
        code, _, err = stubbed(*job.words)
        if len(stages) > seen:
            assert code == 143, (stages, err)
            assert contents(tmp_path) == before, stages
    assert code in (0, 3), err
    assert stages


def told_once(err: str) -> bool:
    """Is the error one line, the last one, behind the lines of the progress?"""
    lines = err.splitlines()
    return lines[-1].startswith("unconcept: ") and err.count("unconcept: ") == 1


def restore(folder: Path, before: dict[str, bytes | None]) -> None:
    """Make the content of a folder what it was."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if str(path.relative_to(folder)) not in before:
            path.rmdir() if path.is_dir() else path.unlink()
    for name, content in before.items():
        if content is None:
            (folder / name).mkdir(exist_ok=True)
        elif not (folder / name).exists() or (folder / name).read_bytes() != content:
            (folder / name).write_bytes(content)
