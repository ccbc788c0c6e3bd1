"""The folder that a run leaves: whole at every moment, whatever happens to the process."""

import os
import random
import subprocess
import sys
import time

import pytest

from unconcept import InputError, folder
from unconcept.folder import whole_folder

# Writes the same folder again and again, each time all of its files of the same number.
WRITER = """
import itertools, pathlib, sys
from unconcept.folder import whole_folder
print("begun", flush=True)
for i in itertools.count(int(sys.argv[2])):
    with whole_folder(pathlib.Path(sys.argv[1]), force=True) as part:
        for name in ("edit", "picture", "report.json"):
            (part / name).write_text(str(i))
"""


def numbers(out) -> set[str]:
    return {(out / name).read_text() for name in ("edit", "picture", "report.json")}


@pytest.mark.skipif(sys.platform not in ("linux", "darwin"), reason="elsewhere there is an instant between two renames")
def test_killed_at_any_moment_the_folder_is_whole(tmp_path):
    """The old one or the new one, 50 times; and what was half-filled does not pile up."""
    out, chance, seen = tmp_path / "out", random.Random(0), set()
    for turn in range(50):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, out, str(turn * 10_000)], stdout=subprocess.PIPE)
        assert writer.stdout
        assert writer.stdout.readline() == b"begun\n"
        time.sleep(chance.uniform(0.001, 0.03))
        writer.kill()
        writer.communicate()
        if out.exists():
            (number,) = numbers(out)
            seen.add(number)
        assert len(list(tmp_path.iterdir())) <= 2
    assert len(seen) > 25, "most of them got as far as to a folder"
    with whole_folder(out, force=True) as part:
        (part / "report.json").write_text("done")
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_what_another_is_writing_is_left_alone(tmp_path):
    def write(number: str) -> None:
        with whole_folder(tmp_path / "out", force=False) as part:
            (part / "report.json").write_text(number)

    with pytest.raises(InputError, match="exists"), whole_folder(tmp_path / "out", force=False) as first:
        (first / "report.json").write_text("first")
        write("second")
        assert (first / "report.json").exists()
    assert (tmp_path / "out" / "report.json").read_text() == "second"
    assert os.listdir(tmp_path) == ["out"]


def test_where_the_system_cannot_exchange_two_names(tmp_path, monkeypatch):
    """Two renames do the same; when the second fails, the old folder is there again."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "report.json").write_text("old")
    monkeypatch.setattr(folder, "exchanged", lambda one, other: False)
    rename = folder.Path.rename
    refuse = lambda self, to: rename(self, to) if to != out or self.name.endswith(".old") else rename(self / "gone", to)
    monkeypatch.setattr(folder.Path, "rename", refuse)
    with pytest.raises(InputError, match="could not be written"), whole_folder(out, force=True) as part:
        (part / "report.json").write_text("new")
    monkeypatch.setattr(folder.Path, "rename", rename)
    assert (out / "report.json").read_text() == "old"
    with whole_folder(out, force=True) as part:
        (part / "report.json").write_text("new")
    assert (out / "report.json").read_text() == "new"
    assert os.listdir(tmp_path) == ["out"]
