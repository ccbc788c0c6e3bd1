"""The output folder is complete at every moment, whatever happens to the process."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest

from unconcept.errors import InputError
from unconcept.io import output_folder as folder
from unconcept.io.output_folder import whole_folder

# For every number that it reads, forks a process that writes the same folder again and again, each
# time all of its files of the same number, which it counts up from there. The process prints its id
# and every number that is written; "ended" follows once it is dead.
WRITERS = """
import itertools, os, pathlib, sys
from unconcept.io.output_folder import whole_folder

def write(first):
    print(os.getpid(), flush=True)
    for i in itertools.count(first):
        with whole_folder(pathlib.Path(sys.argv[1]), force=True) as part:
            for name in ("edit", "image", "report.json"):
                (part / name).write_text(str(i))
        print(i, flush=True)

for line in sys.stdin:
    process = os.fork()
    if not process:
        write(int(line))
    os.waitpid(process, 0)
    print("ended", flush=True)
"""


def numbers(out) -> set[str]:
    return {(out / name).read_text() for name in ("edit", "image", "report.json")}


@pytest.mark.skipif(
    sys.platform not in ("linux", "darwin"),
    reason="elsewhere there is an instant between two renames",
)
def test_killed_at_any_moment_the_folder_is_whole(tmp_path):
    """The old one or the new one, 50 times; half-filled folders do not accumulate."""
    out, chance = tmp_path / "out", random.Random(0)
    words = [sys.executable, "-c", WRITERS, str(out)]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True, bufsize=1) as writers:
        assert writers.stdin
        assert writers.stdout
        for turn in range(50):
            first = turn * 100_000
            writers.stdin.write(f"{first}\n")
            process = int(writers.stdout.readline())
            assert int(writers.stdout.readline()) == first
            time.sleep(chance.uniform(0.0, 0.01))
            os.kill(process, signal.SIGKILL)
            last = first
            for line in iter(writers.stdout.readline, "ended\n"):
                last = int(line)
            (number,) = numbers(out)
            assert int(number) in (last, last + 1), "the last one, or one it did not report"
            assert len(list(tmp_path.iterdir())) <= 2
        writers.stdin.close()
    with whole_folder(out, force=True) as part:
        (part / "report.json").write_text("done")
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


@pytest.mark.skipif(sys.platform not in ("linux", "darwin"), reason="not offered there")
def test_the_system_exchanges_two_names(tmp_path):
    for name in ("one", "other"):
        (tmp_path / name / name).mkdir(parents=True)
    assert folder.exchange_atomically(tmp_path / "one", tmp_path / "other")
    assert (tmp_path / "one" / "other").exists()
    assert (tmp_path / "other" / "one").exists()
    assert not folder.exchange_atomically(tmp_path / "one", tmp_path / "nothing")


def test_a_folder_that_another_process_writes_is_left_alone(tmp_path):
    out = tmp_path / "out"

    def write(number: str, meanwhile=lambda: None) -> None:
        with whole_folder(out, force=False) as part:
            (part / "report.json").write_text(number)
            meanwhile()
            assert (part / "report.json").read_text() == number

    with pytest.raises(InputError, match="exists"):
        write("first", meanwhile=lambda: write("second"))
    assert (out / "report.json").read_text() == "second"
    assert os.listdir(tmp_path) == ["out"]


def test_where_the_system_cannot_exchange_two_names(tmp_path, monkeypatch):
    """Two renames do the same; when the second fails, the old folder is there again."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "report.json").write_text("old")
    monkeypatch.setattr(folder, "exchange_atomically", lambda one, other: False)
    rename = folder.Path.rename

    def refuse(self, to):
        if to != out or self.name.endswith(".old"):
            return rename(self, to)
        return rename(self / "gone", to)

    monkeypatch.setattr(folder.Path, "rename", refuse)
    with (
        pytest.raises(InputError, match="could not be written"),
        whole_folder(out, force=True) as part,
    ):
        (part / "report.json").write_text("new")
    monkeypatch.setattr(folder.Path, "rename", rename)
    assert (out / "report.json").read_text() == "old"
    with whole_folder(out, force=True) as part:
        (part / "report.json").write_text("new")
    assert (out / "report.json").read_text() == "new"
    assert os.listdir(tmp_path) == ["out"]
