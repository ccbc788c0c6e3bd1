"""Resumable training: the state is checkpointed to files, and a resumed run is bit-identical.

    with checkpointed(folder, every=25, resume=True):
        edit = method(model, concept)

Inside the `with`, a training loop that iterates over `resumable(state, steps)` is saved every 25
steps and continues where an earlier run stopped; `load_or_compute` stores what is computed before
a training. Every file is written completely or not at all. Outside, nothing is written.
"""

import json
import logging
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from ..errors import InputError, RunError, Terminated, UnconceptError
from ..io.warnings import warn_once
from ..io.weights import open_safetensors, write_safetensors
from .distributed import any_process, is_first

log = logging.getLogger(__name__)


@dataclass
class CheckpointFolder:
    """Where a run is checkpointed.

    A run may train several times and compute several things before. Their files are numbered in
    the order in which the run reaches them.

    folder        holds the files of this run alone
    every         steps between two checkpoints of a training
    resume        continue from files that an earlier run left
    resumed_from  step of the last checkpoint that was loaded; 0 without one
    files         how many files the run has reached so far
    terminated    SIGTERM was received: the training stops after the current step
    """

    folder: Path
    every: int
    resume: bool
    resumed_from: int = 0
    files: int = 0
    terminated: bool = False

    def next_file(self, kind: str) -> Path:
        """The file of the next training or computation of the run.

        Args:
            kind: What the file will hold: "training", or "made" for a computation.

        Returns:
            Its path, numbered from 1 in the order of the calls; the file need not exist.
        """
        self.files += 1
        return self.folder / f"{self.files}-{kind}.safetensors"


_current: ContextVar[CheckpointFolder | None] = ContextVar("checkpoint_folder", default=None)


@contextmanager
def checkpointed(folder: Path, *, every: int, resume: bool) -> Iterator[CheckpointFolder]:
    """Checkpoint the trainings inside the `with`.

    A resumed run must do the same job with the same software; the name of the folder should
    identify both. On SIGTERM the current step is finished and saved, then `Terminated` is raised.
    With several processes the first one writes, and all stop when one of them is terminated.
    A training that fails (`RunError`) would fail again: its files are deleted. After a successful
    run, deleting the folder is left to the caller. One process at a time owns the folder: another
    one that does the same job meanwhile works without checkpoints.

    Args:
        folder: Created when the first file is written. Cleared first unless `resume` is set.
        every: Training steps between two checkpoints.
        resume: Continue from the files in `folder`, where there are any.

    Yields:
        The checkpoint folder; its `resumed_from` is the step that the run continued from.

    Raises:
        InputError: `resume` is set, and another process owns the folder.
    """
    checkpoints = CheckpointFolder(folder, every, resume)
    with owned(folder) as other:
        if other and resume:
            raise InputError(f"process {other} does the same training now: --resume when it ends")
        if other:
            log.warning("process %d does the same training now: this one is not saved", other)
            yield checkpoints
            return
        if not resume and is_first():
            shutil.rmtree(folder, ignore_errors=True)
        token = _current.set(checkpoints)
        try:
            yield checkpoints
        except RunError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        finally:
            _current.reset(token)


@contextmanager
def owned(folder: Path) -> Iterator[int | None]:
    """Own a folder for the duration of the `with`.

    A file beside it holds the process that does. Where it cannot be written, nobody else can
    write the folder either.

    Args:
        folder: Need not exist.

    Yields:
        None: it is ours now; else the process that owns it.
    """
    lock = lock_beside(folder)
    if not is_first():  # the first of several processes owns it for all
        yield None
        return
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        if lock.exists() and owner_of(lock) is None:
            lock.unlink()  # of a process that was killed
        with lock.open("x") as file:
            file.write(str(os.getpid()))
    except OSError:
        yield owner_of(lock)
        return
    try:
        yield None
    finally:
        lock.unlink(missing_ok=True)


def discard(folder: Path) -> None:
    """Delete a checkpoint folder, unless another process owns it.

    Args:
        folder: Of a run that has ended.
    """
    if owner_of(lock_beside(folder)) is None:
        shutil.rmtree(folder, ignore_errors=True)


def lock_beside(folder: Path) -> Path:
    """The lock file that says which process owns a folder.

    Args:
        folder: A checkpoint folder; it need not exist.

    Returns:
        Its path with ".lock" behind the name.
    """
    return folder.with_name(f"{folder.name}.lock")


def owner_of(lock: Path) -> int | None:
    """The living process that a lock names; None where there is none.

    Args:
        lock: The lock file, which holds a process id; it need not exist.

    Returns:
        The process id. This process does not count as an owner.
    """
    import psutil

    try:
        owner = int(lock.read_text())
    except (OSError, ValueError):
        return None
    return owner if owner != os.getpid() and psutil.pid_exists(owner) else None


class Metrics(Protocol):
    """Numbers that a training tracks, as a mapping that JSON can hold."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what an earlier run tracked.

        Args:
            state: What `state_dict` returned, read from JSON: tuples have become lists.
        """
        ...


@dataclass
class TrainingState:
    """Everything that a training needs in order to continue.

    optimizer  its parameters and their moments
    generator  of all random numbers that the training draws
    tensors    other tensors that change during the training; loaded in place
    metrics    numbers that the training tracks
    step       steps that have been started, those of earlier runs included
    seconds    time spent in steps, that of earlier runs included
    """

    optimizer: torch.optim.Optimizer
    generator: torch.Generator
    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    metrics: Metrics | None = None
    step: int = 0
    seconds: float = 0.0

    def parameters(self) -> list[Tensor]:
        """The optimizer's parameters, in its order."""
        return [p for group in self.optimizer.param_groups for p in group["params"]]

    def save(self, file: Path) -> None:
        """Write the state to a safetensors file.

        Tensors are named `trained.{i}`, `optimizer.{i}.{name}`, `besides.{name}` and `generator`;
        the metadata hold `step` and, as JSON, `facts`: the counts and metrics.

        Args:
            file: Written completely or not at all.
        """
        contents = {"generator": self.generator.get_state()}
        for i, parameter in enumerate(self.parameters()):
            contents[f"trained.{i}"] = parameter
            for name, moment in self.optimizer.state[parameter].items():
                contents[f"optimizer.{i}.{name}"] = torch.as_tensor(moment)
        for name, tensor in self.tensors.items():
            contents[f"besides.{name}"] = tensor
        metrics = self.metrics.state_dict() if self.metrics else {}
        facts = {"steps": self.step, "seconds": self.seconds, **metrics}
        write_safetensors(
            {name: tensor.detach().clone() for name, tensor in contents.items()},
            file,
            {"step": str(self.step), "facts": json.dumps(facts)},
        )

    @torch.no_grad()
    def load(self, file: Path) -> None:
        """Restore a state that `save` wrote: tensors in place, everything else replaced.

        Args:
            file: Of a training with the same parameters, optimizer and tensors.
        """
        contents, metadata = open_safetensors(file)
        moments: dict[int, dict[str, Any]] = {}
        for name, tensor in contents.items():
            kind, _, rest = name.partition(".")
            if kind == "optimizer":
                i, _, moment = rest.partition(".")
                is_number = tensor.ndim == 0 and not tensor.is_floating_point()
                moments.setdefault(int(i), {})[moment] = tensor.item() if is_number else tensor
            elif kind == "besides":
                self.tensors[rest].copy_(tensor)
        for i, parameter in enumerate(self.parameters()):
            parameter.copy_(contents[f"trained.{i}"])
            self.optimizer.state[parameter] = {
                name: value.to(parameter.device)
                if isinstance(value, Tensor) and value.ndim
                else value
                for name, value in moments.get(i, {}).items()
            }
        self.generator.set_state(contents["generator"])
        facts = json.loads(metadata["facts"])
        self.step, self.seconds = int(metadata["step"]), facts["seconds"]
        if self.metrics:
            self.metrics.load_state_dict(facts)


def resumable(state: TrainingState, steps: int) -> Iterator[int]:
    """The steps of a training that are left to do, counted from 1.

    Inside `checkpointed` the state is restored from the checkpoint of an earlier run before the
    first step, and saved regularly and after the last step. `state.step` and `state.seconds` are
    kept up to date everywhere.

    Args:
        state: Of the training. Restored in place, before the first step.
        steps: Of the whole training, at least 1.

    Yields:
        The number of each step, from 1 (or behind the checkpoint) to `steps`.

    Raises:
        Terminated: After the step in which SIGTERM was received; the step is saved.
    """
    checkpoints = _current.get()
    file = checkpoints.next_file("training") if checkpoints else None
    if checkpoints and file and checkpoints.resume and is_whole(file):
        state.load(file)
        checkpoints.resumed_from = state.step
    with defer_sigterm(checkpoints):
        for step in range(state.step + 1, steps + 1):
            start = time.perf_counter()
            state.step = step
            try:
                yield step
            finally:
                state.seconds += time.perf_counter() - start
            if checkpoints is None or file is None:
                continue
            # A signal that arrives after this line counts at the next step.
            stop = any_process(checkpoints.terminated, state.parameters()[0].device)
            due = stop or step % checkpoints.every == 0 or step == steps
            if due and is_first():
                save_if_possible(lambda: state.save(file))
            if stop:
                raise Terminated


def load_or_compute(compute: Callable[[], Mapping[str, Tensor]]) -> Mapping[str, Tensor]:
    """The result of `compute`, stored inside `checkpointed` and loaded by a resumed run.

    Args:
        compute: Returns tensors by name.

    Returns:
        The same tensors, on the devices where `compute` left them.
    """
    checkpoints = _current.get()
    if checkpoints is None:
        return compute()
    file = checkpoints.next_file("made")
    if checkpoints.resume and is_whole(file):
        stored, metadata = open_safetensors(file)
        devices = json.loads(metadata["devices"])
        return {name: stored[name].to(device) for name, device in devices.items()}
    tensors = compute()
    if is_first():
        devices = {name: str(tensor.device) for name, tensor in tensors.items()}
        about = {"devices": json.dumps(devices)}
        save_if_possible(lambda: write_safetensors(tensors, file, about))
    return tensors


def is_whole(file: Path) -> bool:
    """Whether a checkpoint can be read; a damaged one is made again, and that is said.

    Args:
        file: Of an earlier run; need not exist.
    """
    if not file.exists():
        return False
    try:
        open_safetensors(file)
    except InputError as error:
        log.warning("%s: that part is done again", error)
        return False
    return True


def save_if_possible(save: Callable[[], Any]) -> None:
    """Save a checkpoint; where that is impossible, the run goes on, and that is said once.

    Args:
        save: Writes a file.
    """
    try:
        save()
    except UnconceptError as error:
        warn_once(f"{error}: --resume will not find it (UNCONCEPT_CACHE is another place for it)")


@contextmanager
def defer_sigterm(checkpoints: CheckpointFolder | None) -> Iterator[None]:
    """Record SIGTERM in `checkpoints.terminated` instead of ending the process.

    Args:
        checkpoints: None: SIGTERM keeps its present effect.
    """
    if checkpoints is None or threading.current_thread() is not threading.main_thread():
        yield
        return

    def record(*_) -> None:
        checkpoints.terminated = True

    before = signal.signal(signal.SIGTERM, record)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)
