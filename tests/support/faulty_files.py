"""A disk that fails at a chosen moment: the k-th operation of a kind, on files below one folder.

    with faulty_files(tmp_path, Fault("write", 3)) as disk:
        ...                                             # the fourth file that is written fails
    disk.counts["write"]                                # how many there were

Python's own writing is replaced, and safetensors', whose files are written from outside Python.
"""

import builtins
import contextlib
import errno
import io
import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import safetensors.torch
from safetensors import SafetensorError

# create  a file or folder cannot be made
# write   the first write to a file fails
# short   half of the first write gets onto the disk, then it is full
# fsync   the disk does not confirm that it has the content
# rename  a finished file or folder does not get its name
KINDS = ("create", "write", "short", "fsync", "rename")

ERRORS = {"create": errno.ENOSPC, "rename": errno.EIO, "fsync": errno.EIO}


@dataclass(frozen=True)
class Fault:
    """The operation that fails: the one with this number, counted from 0, of a kind.

    signal  it does not fail, but this signal comes
    after   when the operation is done, instead of before it; for "create" and "rename"
    """

    kind: str
    number: int
    signal: int | None = None
    after: bool = False

    def error(self, path: Any) -> OSError:
        code = ERRORS.get(self.kind, errno.ENOSPC)
        return OSError(code, os.strerror(code), str(path))


@dataclass
class Disk:
    """The operations below a folder so far, and the one that fails."""

    folder: str
    fault: Fault | None
    counts: Counter = field(default_factory=Counter)
    failed: bool = False

    def counts_here(self, path: Any) -> bool:
        with contextlib.suppress(TypeError, ValueError):
            return os.path.abspath(os.fsdecode(path)).startswith(self.folder)
        return False  # a file descriptor

    def due(self, kind: str, path: Any) -> bool:
        """Count one operation; is it the one that fails?"""
        if not self.counts_here(path):
            return False
        number = self.counts[kind]
        self.counts[kind] += 1
        if self.fault is None or (self.fault.kind, self.fault.number) != (kind, number):
            return False
        self.failed = True
        return True

    def check(self, kind: str, path: Any) -> Callable[[], None]:
        """Count one operation, and fail if it is the one.

        Returns:
            To be called when the operation is done.
        """
        if not self.due(kind, path):
            return do_nothing
        assert self.fault
        if self.fault.signal is None:
            raise self.fault.error(path)
        if self.fault.after:
            return self.send_signal
        self.send_signal()
        return do_nothing

    def send_signal(self) -> None:
        assert self.fault
        assert self.fault.signal
        os.kill(os.getpid(), self.fault.signal)


def do_nothing() -> None:
    """What follows an operation without a fault."""


class FaultyFile:
    """A file open for writing, whose first write may fail."""

    def __init__(self, file: Any, path: Any, disk: Disk):
        self.file, self.path, self.disk = file, path, disk
        self.begun = False

    def write(self, content: Any) -> int:
        if not self.begun:
            self.begun = True
            self.disk.check("write", self.path)
            if self.disk.due("short", self.path):
                self.file.write(content[: len(content) // 2])
                self.file.flush()
                assert self.disk.fault
                raise self.disk.fault.error(self.path)
        return self.file.write(content)

    def fileno(self) -> int:
        raise io.UnsupportedOperation("fileno")  # so that all content comes through `write`

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.file.close()

    def __iter__(self):
        return iter(self.file)


class FaultyCalls:
    """What replaces the system's calls while a disk is faulty."""

    def __init__(self, disk: Disk):
        self.disk = disk
        self.open, self.open_low, self.make = builtins.open, os.open, os.mkdir
        self.rename, self.replace, self.confirm = os.rename, os.replace, os.fsync
        self.read: dict[int, Any] = {}  # files that are open for reading, by their descriptors

    def opened(self, file, mode="r", *args, **settings):
        here = self.disk.counts_here(file)
        if not here or not any(letter in mode for letter in "wax+"):
            stream = self.open(file, mode, *args, **settings)
            if here:
                self.read[stream.fileno()] = file
            return stream
        then = do_nothing
        if not os.path.exists(file):
            then = self.disk.check("create", file)
        stream = FaultyFile(self.open(file, mode, *args, **settings), file, self.disk)
        try:
            then()
        except BaseException:
            stream.close()
            raise
        return stream

    def opened_low(self, path, flags, *args, **settings):
        then = self.disk.check("create", path) if flags & os.O_CREAT else do_nothing
        descriptor = self.open_low(path, flags, *args, **settings)
        try:
            then()
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def made(self, path, *args, **settings):
        then = do_nothing if os.path.exists(path) else self.disk.check("create", path)
        self.make(path, *args, **settings)
        then()

    def renamed(self, source, target, *args, **settings):
        then = self.disk.check("rename", source)
        self.rename(source, target, *args, **settings)
        then()

    def replaced(self, source, target, *args, **settings):
        then = self.disk.check("rename", source)
        self.replace(source, target, *args, **settings)
        then()

    def confirmed(self, descriptor):
        self.disk.check("fsync", self.read.get(descriptor, descriptor))
        return self.confirm(descriptor)

    @staticmethod
    def saved(tensors, file, metadata=None):
        """safetensors' save_file, with its own error."""
        content = safetensors.torch.save(tensors, metadata)
        try:
            with builtins.open(file, "wb") as stream:
                stream.write(content)
        except OSError as error:
            text = f"Error while serializing: I/O error: {error.strerror} (os error {error.errno})"
            raise SafetensorError(text) from None


@contextlib.contextmanager
def faulty_files(folder: Path, fault: Fault | None) -> Iterator[Disk]:
    """Count the operations on files below a folder, and let one of them fail.

    Args:
        folder: Operations elsewhere are as they are.
        fault: None: all work.

    Yields:
        The disk, with the counts.
    """
    disk = Disk(os.path.abspath(folder) + os.sep, fault)
    calls = FaultyCalls(disk)
    with (
        mock.patch("builtins.open", calls.opened),
        mock.patch("io.open", calls.opened),
        mock.patch("os.open", calls.opened_low),
        mock.patch("os.mkdir", calls.made),
        mock.patch("os.rename", calls.renamed),
        mock.patch("os.replace", calls.replaced),
        mock.patch("os.fsync", calls.confirmed),
        mock.patch("unconcept.io.weights.save_file", calls.saved),
        # The one step in which Linux exchanges two folders cannot be half done.
        mock.patch("unconcept.io.output_folder.exchange_atomically", return_value=False),
    ):
        yield disk
