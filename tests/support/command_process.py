"""The command line in a process of its own, which begins with everything imported.

Importing torch and diffusers takes longer than what such a test is about. A fork server of
`multiprocessing` imports them once; every process is forked from it, and is as real as any other:
signals reach it, it can be killed, and it has an exit code.

Mark a test that uses it with `processes`, so that one worker of pytest-xdist runs them all.
"""

import multiprocessing
import os
import signal
import sys
from collections.abc import Mapping
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


def run_command(
    words: list[str], folder: str, environment: dict[str, str], errors: Connection
) -> None:
    """Run the command line in this process, with its standard error going to `errors`."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    os.dup2(errors.fileno(), 2)
    import torch

    torch.set_num_threads(1)
    sys.argv = ["unconcept", *words]
    from unconcept.cli import main

    main()


class CommandProcess:
    """A running command line.

    stderr  its standard error, to be read line by line
    """

    def __init__(self, *words: object, folder: Path, environment: Mapping[str, str] | None = None):
        """Start it.

        Args:
            *words: What stands behind `unconcept` on the command line.
            folder: The working directory.
            environment: Variables besides those of this process.
        """
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(IMPORTED)
        reader, writer = context.Pipe(duplex=False)
        variables = {**os.environ, **(environment or {})}
        arguments = (list(map(str, words)), str(folder), variables, writer)
        self.process = context.Process(target=run_command, args=arguments)
        self.process.start()
        writer.close()
        self.stderr = os.fdopen(os.dup(reader.fileno()), encoding="utf-8")
        reader.close()

    def __enter__(self) -> "CommandProcess":
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
