"""An interrupted training resumes to the same bits: killed, terminated, or stopped anywhere."""

import os
import signal
from dataclasses import replace

import pytest
from support import kill
from support.command_process import ForkedProcess, processes
from support.interruption import Stop, equal, stops
from support.method_rows import CONCEPTS, ROWS

from unconcept import AllButOne, Edit, RunError, Tune
from unconcept.concepts.retain import retain_prompts
from unconcept.errors import Terminated
from unconcept.io.weights import open_safetensors
from unconcept.methods.negative_prompt import NegativePrompt
from unconcept.methods.sld import SLD
from unconcept.methods.speed import SPEED
from unconcept.methods.uce import RECE, UCE
from unconcept.training.resume import checkpointed

LOOPS = {
    name: method
    for name, method in ROWS.items()
    if not isinstance(method, UCE | RECE | SPEED | SLD | NegativePrompt)
    and getattr(method, "trains", True)
}


@pytest.mark.parametrize("name", LOOPS)
def test_every_loop_goes_on_to_the_same_bits(name, model, tmp_path):
    method = LOOPS[name]
    if isinstance(method, AllButOne):
        method = replace(method, trajectories=4, points=1)
    undisturbed = method(model, *CONCEPTS)
    with pytest.raises(Stop), checkpointed(tmp_path / "state", every=1, resume=False):
        method(model, *CONCEPTS, progress=stops(2))
    with checkpointed(tmp_path / "state", every=1, resume=True) as place:
        resumed = method(model, *CONCEPTS)
    assert place.resumed_from == 2
    assert equal(resumed, undisturbed)


def test_what_was_made_first_is_not_made_again(model, tmp_path, monkeypatch):
    method = LOOPS["all-but-one, from nothing"]
    with checkpointed(tmp_path / "state", every=2, resume=False):
        first = method(model, *CONCEPTS)
    monkeypatch.setattr(type(model), "trajectory", None)
    with checkpointed(tmp_path / "state", every=2, resume=True) as place:
        again = method(model, *CONCEPTS)
    assert place.resumed_from == again.card["training"]["steps"] == method.tune.steps
    assert equal(first, again)


def test_what_is_kept_holds_each_prompt_once(model, tmp_path):
    """60 points have five prompts of pig, five of cow, ∅, and no more retained prompts than the
    vocabulary gives.
    """
    with checkpointed(tmp_path / "state", every=2, resume=False):
        LOOPS["all-but-one, from nothing"](model, CONCEPTS[0])
    files = [
        open_safetensors(file)[0]
        for file in sorted((tmp_path / "state").glob("*-made.safetensors"))
    ]
    rows = [
        {name.split(".")[1]: len(t) for name, t in tensors.items() if name.startswith("asked.")}
        for tensors in files
    ]
    assert rows == [
        {"c": 5, "a": 5, "null": 1},
        {"k": len(retain_prompts(CONCEPTS[:1], model.vocabulary))},
    ]
    assert sum(len(tensors["t"]) for tensors in files) == 60


def test_without_resume_it_begins_anew(model, tmp_path):
    method = LOOPS["all-but-one, from nothing"]
    with pytest.raises(Stop), checkpointed(tmp_path / "state", every=1, resume=False):
        method(model, *CONCEPTS, progress=stops(3))
    with pytest.raises(Stop), checkpointed(tmp_path / "state", every=1, resume=False) as place:
        method(model, *CONCEPTS, progress=stops(1))
    assert place.resumed_from == 0


def test_asked_to_end_it_keeps_the_step_and_leaves(model, tmp_path):
    method = LOOPS["all-but-one, from nothing"]

    def report(progress):
        if progress.loss is not None and progress.done == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Terminated), checkpointed(tmp_path / "state", every=1000, resume=False):
        method(model, *CONCEPTS, progress=report)
    assert signal.getsignal(signal.SIGTERM) is before
    with checkpointed(tmp_path / "state", every=1000, resume=True) as place:
        resumed = method(model, *CONCEPTS)
    assert place.resumed_from == 3
    assert equal(resumed, method(model, *CONCEPTS))


def test_a_loss_that_blows_up_is_not_kept(model, tmp_path):
    wild = AllButOne(
        start="none",
        rounds=1,
        trajectories=12,
        points=2,
        sampling_steps=4,
        tune=Tune(steps=6, batch_size=4, check=2, lr=1e30),
    )
    with pytest.raises(RunError), checkpointed(tmp_path / "state", every=1, resume=False):
        wild(model, *CONCEPTS)
    assert not (tmp_path / "state").exists()


@processes
def test_killed_at_any_moment_it_goes_on_to_the_same_bits(tmp_path):
    file = tmp_path / "edit.safetensors"
    with ForkedProcess(kill.main, "tiny", file, 50) as process:
        printed = process.stderr.read()
        assert process.wait() == 0, printed
    assert int(printed.splitlines()[-1]) >= 50
    assert equal(Edit.load(file), Edit.load(tmp_path / "edit-undisturbed.safetensors"))
