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
    "support.frozen_heap",  # last: nothing of the above is looked at again
]

FEW_RETAINED_PROMPTS = 100

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
    """Run the command line in this process, with as few retained prompts as `conftest.quick`."""
    os.chdir(folder)
    sys.argv = ["unconcept", *words]
    from unconcept.cli import main
    from unconcept.methods import all_but_one

    all_but_one.MAX_RETAINED_PROMPTS = FEW_RETAINED_PROMPTS
    main()


def run_torchrun(count: int, words: list[str], folder: str) -> None:
    """Run `torchrun -m unconcept WORDS` in this process, whose workers are forked from it."""
    from torch.distributed import run
    from torch.distributed.launcher.api import elastic_launch

    options = ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0", "--rdzv-id", "test"]
    options += ["--nproc-per-node", str(count), "--start-method", "fork", "-m", "unconcept"]
    config, _, _ = run.config_from_args(run.parse_args([*options, *words]))
    elastic_launch(config, run_worker)(words, folder)


def run_worker(words: list[str], folder: str) -> None:
    """Run the command line as a worker of torchrun, which must return."""
    with pytest.raises(SystemExit) as end:
        run_command(words, folder)
    assert not end.value.code


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


def torchrun(count: int, *words: object, folder: Path) -> None:
    """Run the command line in several processes that torchrun connects, to its end.

    Args:
        count: How many processes.
        *words: What stands behind `unconcept` on the command line.
        folder: The working directory.
    """
    arguments = (count, list(map(str, words)), str(folder))
    with ForkedProcess(run_torchrun, *arguments) as process:
        printed = process.stderr.read()
        assert process.wait() == 0, printed
