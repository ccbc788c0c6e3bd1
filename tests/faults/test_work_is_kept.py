"""Work is not lost: the output folder, checkpoints, the image cache, and what a signal leaves."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from unconcept.cli import entry_point
from unconcept.errors import InputError
from unconcept.io.output_folder import check_out, whole_folder
from unconcept.io.weights import open_safetensors, write_safetensors
from unconcept.io.whole_file import whole_file
from unconcept.models import image_cache
from unconcept.training.resume import checkpointed, discard, load_or_compute, lock_beside


def content(value: float) -> dict[str, torch.Tensor]:
    return {"a": torch.full((2,), value)}


def other_process() -> subprocess.Popen:
    """A process that lives until its standard input is closed."""
    return subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)


def write_half(file: Path, end: type[BaseException]) -> None:
    file.write_text("half")
    raise end


def dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.mark.parametrize("out", [".", "..", "../.."])
def test_the_working_directory_is_no_output(out, tmp_path, monkeypatch):
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")
    with pytest.raises(InputError, match=r"working directory|exists"):
        check_out(Path(out), force=False)
    with pytest.raises(InputError):
        check_out(Path(out), force=True)


@pytest.mark.parametrize("name", ["x" * 256, "ж" * 128, "\udcff" * 300])
def test_names_that_are_too_long_are_refused_before_the_work(name, tmp_path):
    with pytest.raises(InputError, match="long"):
        check_out(tmp_path / name, force=False)


@pytest.mark.parametrize("name", ["x" * 255, "ж" * 127])
def test_names_of_the_greatest_length_are_written(name, tmp_path):
    with whole_folder(tmp_path / name, force=False) as folder:
        (folder / "file").write_text("content")
    assert (tmp_path / name / "file").exists()


def test_a_link_is_not_replaced(tmp_path):
    (tmp_path / "target").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with pytest.raises(InputError, match="link"):
        check_out(tmp_path / "link", force=True)


def test_a_failed_run_leaves_no_folders(tmp_path):
    out = tmp_path / "runs" / "of today" / "pig"
    with pytest.raises(KeyboardInterrupt), whole_folder(out, force=False):
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


def test_folders_have_the_permissions_of_other_new_ones(tmp_path):
    before = os.umask(0o027)
    try:
        with whole_folder(tmp_path / "out", force=False) as folder:
            write_safetensors(content(1), folder / "file.safetensors", {})
    finally:
        os.umask(before)
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o750
    assert (tmp_path / "out" / "file.safetensors").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("end", [KeyboardInterrupt, OSError, SystemExit])
def test_no_part_of_a_file_is_left(end, tmp_path):
    (tmp_path / "file").write_text("before")
    with pytest.raises(end), whole_file(tmp_path / "file") as part:
        write_half(part, end)
    assert [file.name for file in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "before"


def test_what_a_killed_process_left_is_removed(tmp_path):
    left = tmp_path / f".{dead_process()}-abc.part"
    left.write_text("half")
    process = other_process()
    living = tmp_path / f".{process.pid}-abc.part"
    living.write_text("half")
    write_safetensors(content(1), tmp_path / "file.safetensors", {})
    process.communicate(b"\n")
    assert living.exists()
    assert not left.exists()


def test_two_writers_of_one_file_do_not_meet(tmp_path):
    file = tmp_path / "file"
    with whole_file(file) as one:
        one.write_text("one")
        with whole_file(file) as two:
            two.write_text("two")
        assert file.read_text() == "two"
    assert file.read_text() == "one"


def test_a_training_folder_has_one_owner(tmp_path, caplog):
    folder, process = tmp_path / "training", other_process()
    lock_beside(folder).write_text(str(process.pid))
    write_safetensors(content(1), folder / "1-made.safetensors", {"devices": "{}"})
    with checkpointed(folder, every=1, resume=False):
        assert load_or_compute(lambda: content(2))["a"][0] == 2
    assert "does the same training now" in caplog.text
    with (
        pytest.raises(InputError, match="--resume when it ends"),
        checkpointed(folder, every=1, resume=True),
    ):
        pass
    discard(folder)
    assert open_safetensors(folder / "1-made.safetensors")[0]["a"][0] == 1
    process.communicate(b"\n")
    with checkpointed(folder, every=1, resume=False):
        assert load_or_compute(lambda: content(3))["a"][0] == 3
    assert open_safetensors(folder / "1-made.safetensors")[0]["a"][0] == 3
    assert not lock_beside(folder).exists()


def test_a_damaged_checkpoint_is_made_again(tmp_path, caplog):
    folder = tmp_path / "training"
    with checkpointed(folder, every=1, resume=False):
        load_or_compute(lambda: content(1))
    file = folder / "1-made.safetensors"
    file.write_bytes(file.read_bytes()[:-4])
    with checkpointed(folder, every=1, resume=True):
        assert load_or_compute(lambda: content(2))["a"][0] == 2
    assert "done again" in caplog.text
    with checkpointed(folder, every=1, resume=True):
        assert load_or_compute(lambda: content(3))["a"][0] == 2


def test_a_cache_that_cannot_be_written_is_only_slower(tmp_path, caplog):
    (tmp_path / "file").write_text("no folder")
    with checkpointed(tmp_path / "file" / "training", every=1, resume=False):
        for value in (1, 2, 3):
            assert load_or_compute(lambda value=value: content(value))["a"][0] == value
    image_cache.write_image(tmp_path / "file" / "image.png", torch.zeros(3, 4, 4))
    image_cache.write_image(tmp_path / "file" / "image.png", torch.zeros(3, 4, 4))
    assert caplog.text.count("images are not cached") <= 1


@pytest.mark.parametrize("bytes_", [b"", b"\x89PNG\r\n\x1a\n", b"text"])
def test_a_damaged_cached_image_is_sampled_again(bytes_, tmp_path):
    file = tmp_path / "image.png"
    assert image_cache.read_image(file) is None
    image = torch.rand(3, 4, 4)
    image_cache.write_image(file, image)
    torch.testing.assert_close(image_cache.read_image(file), image, atol=1 / 255, rtol=0)
    file.write_bytes(bytes_)
    assert image_cache.read_image(file) is None


@pytest.mark.parametrize(
    ("command", "line"), [("erase", "a training goes on with --resume"), ("export", "terminated;")]
)
def test_a_signal_is_told_as_it_is(command, line, monkeypatch, capsys):
    """Also where a library turns its exception into one of its own while a model is loaded."""

    def load(*args, **settings):
        entry_point.received.append(15)
        raise OSError("Unable to load weights from checkpoint file")

    monkeypatch.setattr(sys, "argv", ["unconcept", command])
    monkeypatch.setattr(entry_point, "app", load)
    monkeypatch.setattr(entry_point, "received", [])
    monkeypatch.setattr(entry_point.signal, "signal", lambda *args: None)
    with pytest.raises(SystemExit) as ended:
        entry_point.main()
    assert ended.value.code == 143
    assert line in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (MemoryError(), "out of memory"),
        (RuntimeError("could not create a primitive"), "out of memory"),
        (OSError(24, "Too many open files"), "ulimit"),
        (OSError(28, "No space left on device"), "disk is full"),
    ],
)
def test_exhaustion_says_what_to_do(error, text):
    message, code = entry_point.explain(error)
    assert (text in message, code) == (True, 1)
