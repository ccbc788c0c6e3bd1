"""The command line, or a function, in a process that begins with everything imported.

Importing torch and diffusers takes longer than what such a test is about. A fork server of
`multiprocessing` imports them once; every process is forked from it, and is as real as any other:
signals reach it, it can be killed, and it has an exit code.

Mark a test that uses it with `processes`, so that one worker of pytest-xdist runs them all.
"""

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

IMPORTED = [
    "unconcept.cli.commands",
    "unconcept.models.loading",
    "unconcept.workflows.erasure",
    "unconcept.workflows.edit_evaluation",
    "unconcept.methods.all_but_one",
    "diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion",
]

processes = pytest.mark.xdist_group("processes")


def run_function(
    function: Callable, arguments: tuple, environment: dict[str, str], output: Connection
) -> None:
    """Run a function in this process; its standard error goes to `output`."""
    os.environ.clear()
    os.environ.update(environment)
    os.dup2(output.fileno(), 2)
    import torch

    torch.set_num_threads(1)
    function(*arguments)


def run_command(words: list[str], folder: str) -> None:
    """Run the command line in this process."""
    os.chdir(folder)
    sys.argv = ["unconcept", *words]
    from unconcept.cli import main

    main()


class ForkedProcess:
    """A function that runs in a process of its own.

    stderr  its standard error, to be read line by line
    """

    def __init__(
        self, function: Callable, *arguments: object, environment: Mapping[str, str] | None = None
    ):
        """Start it.

        Args:
            function: Of a module.
            *arguments: What it is called with.
            environment: Variables besides those of this process.
        """
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(IMPORTED)
        reader, writer = context.Pipe(duplex=False)
        variables = {**os.environ, **(environment or {})}
        whole = (function, arguments, variables, writer)
        self.process = context.Process(target=run_function, args=whole)
        self.process.start()
        writer.close()
        self.stderr = os.fdopen(os.dup(reader.fileno()), encoding="utf-8")
        reader.close()

    def __enter__(self) -> "ForkedProcess":
        return self

    def __exit__(self, *exception: object) -> None:
        if exception[0] is not None:
            self.process.kill()
        self.process.join()
        self.stderr.close()

    def runs(self) -> bool:
        """Has it not ended yet?"""
        return self.process.is_alive()

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to it."""
        assert self.process.pid
        os.kill(self.process.pid, number)

    def wait(self, timeout: float = 120) -> int | None:
        """Its exit code: negative where a signal ended it, None where it has not ended in time."""
        self.process.join(timeout)
        return self.process.exitcode


class CommandProcess(ForkedProcess):
    """A running command line."""

    def __init__(self, *words: object, folder: Path, environment: Mapping[str, str] | None = None):
        """Start it.

        Args:
            *words: What stands behind `unconcept` on the command line.
            folder: The working directory.
            environment: Variables besides those of this process.
        """
        super().__init__(run_command, list(map(str, words)), str(folder), environment=environment)
