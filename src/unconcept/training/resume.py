"""A training that survives: its state in files, each written whole or not at all, from which the very same bits go on.

    with kept_in(folder, every=25, resume=True):
        edit = method(model, concept)

Loops ask for their steps by `surviving`, and what they make first is `remembered`. Outside the `with` nothing is written.
"""

import json
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import RunError, Terminated
from ..io.weights import open_safetensors, write_safetensors
from .distributed import any_process, is_first


@dataclass
class CheckpointFolder:
    """Where the state of a run goes. A run may train more than once, and make several things first: they are told apart by their order."""

    folder: Path
    every: int
    resume: bool
    files: int = 0
    terminated: bool = False
    resumed_from: int = 0  # the step that was found

    def next(self, kind: str) -> Path:
        self.files += 1
        return self.folder / f"{self.files}-{kind}.safetensors"


_place: ContextVar[CheckpointFolder | None] = ContextVar("place", default=None)


@contextmanager
def checkpointed(folder: Path, *, every: int, resume: bool) -> Iterator[CheckpointFolder]:
    """Trainings inside keep their state in `folder`, each `every` steps; with `resume` they go on from what is there, else it is cleared.

    What goes on must be the same job on the same software: the folder's name should say so. SIGTERM waits for the end of a step, the step
    is kept, and `Terminated` is raised. Of several processes the first writes, and all of them end when one is asked to. A training that fails (RunError) leaves nothing. When everything was kept that should be, the caller removes the folder.
    """
    if not resume and is_first():
        shutil.rmtree(folder, ignore_errors=True)
    token = _place.set(place := CheckpointFolder(folder, every, resume))
    try:
        yield place
    except RunError:  # it would fail again
        shutil.rmtree(folder, ignore_errors=True)
        raise
    finally:
        _place.reset(token)


def resumable_steps(
    n: int, optimizer: torch.optim.Optimizer, generator: torch.Generator, tensors: Mapping[str, Tensor] | None = None, facts: dict | None = None
) -> Iterator[int]:  # fmt: skip
    """1 … n, one for each step of a training.

    A training's state is what `optimizer` trains and remembers, `generator`, and besides `tensors` and `facts` (what JSON can hold): before the first step
    all of it is written over in place by what an earlier run kept. `facts["steps"]` and `facts["seconds"]` count all steps and their time.
    """
    place, tensors, facts = _place.get(), tensors or {}, {} if facts is None else facts
    file, first = place.next("training") if place else None, 0
    facts.update(steps=0, seconds=0.0)
    if place and file and place.resume and file.exists():
        first = place.resumed_from = load_state(file, optimizer, generator, tensors, facts)
    with defer_sigterm(place):
        for step in range(first + 1, n + 1):
            start, facts["steps"] = time.perf_counter(), step
            try:
                yield step
            finally:
                facts["seconds"] += time.perf_counter() - start
            ends = place is not None and any_process(
                place.terminated, trained_tensors(optimizer)[0].device
            )  # a signal during this counts at the next step
            if place and file and is_first() and (ends or step % place.every == 0 or step == n):
                save_state(file, step, optimizer, generator, tensors, facts)
            if ends:
                raise Terminated


def load_or_compute(make: Callable[[], Mapping[str, Tensor]]) -> Mapping[str, Tensor]:
    """What `make` makes; out of its file where an earlier run made it."""
    place = _place.get()
    if place is None:
        return make()
    file = place.next("made")
    if place.resume and file.exists():
        found, metadata = open_safetensors(file)
        return {name: found[name].to(device) for name, device in json.loads(metadata["devices"]).items()}
    made = make()
    if is_first():
        write_safetensors(made, file, {"devices": json.dumps({name: str(t.device) for name, t in made.items()})})
    return made


def trained_tensors(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [p for group in optimizer.param_groups for p in group["params"]]


def save_state(
    file: Path, step: int, optimizer: torch.optim.Optimizer, generator: torch.Generator, tensors: Mapping[str, Tensor], facts: Mapping
) -> None:
    state = {
        **{f"trained.{i}": p for i, p in enumerate(trained_tensors(optimizer))},
        **{
            f"optimizer.{i}.{name}": torch.as_tensor(t)
            for i, p in enumerate(trained_tensors(optimizer))
            for name, t in optimizer.state[p].items()
        },
        **{f"besides.{name}": t for name, t in tensors.items()},
        "generator": generator.get_state(),
    }
    write_safetensors({name: t.detach().clone() for name, t in state.items()}, file, {"step": str(step), "facts": json.dumps(facts)})


@torch.no_grad()
def load_state(file: Path, optimizer: torch.optim.Optimizer, generator: torch.Generator, tensors: Mapping[str, Tensor], facts: dict) -> int:
    """The step that was kept last."""
    found, metadata = open_safetensors(file)
    known: dict[int, dict[str, Any]] = {}
    for name, tensor in found.items():
        kind, _, rest = name.partition(".")
        if kind == "optimizer":
            i, _, entry = rest.partition(".")
            known.setdefault(int(i), {})[entry] = tensor if tensor.ndim or tensor.is_floating_point() else tensor.item()
        elif kind == "besides":
            tensors[rest].copy_(tensor)
    for i, p in enumerate(trained_tensors(optimizer)):
        p.copy_(found[f"trained.{i}"])
        optimizer.state[p] = {name: t.to(p.device) if isinstance(t, Tensor) and t.ndim else t for name, t in known.get(i, {}).items()}
    generator.set_state(found["generator"])
    facts.update(json.loads(metadata["facts"]))
    return int(metadata["step"])


@contextmanager
def defer_sigterm(place: CheckpointFolder | None) -> Iterator[None]:
    """SIGTERM inside is noted in `place.terminated`."""
    if place is None or threading.current_thread() is not threading.main_thread():
        yield
        return

    def note(*_) -> None:
        place.terminated = True

    before = signal.signal(signal.SIGTERM, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)
