"""What runs beside a training, and on what: it must not change what comes out."""

import signal
import socket
from dataclasses import replace

import pytest
import torch
from accelerate import tracking
from conftest import QUICK, same
from PIL import Image
from support.command_process import CommandProcess, processes, torchrun
from support.fake_device import fake_gpu
from support.tiny_pipelines import TINY

from unconcept import AllButOne, Concept, Edit, InputError, Tune, wrap
from unconcept.training.distributed import micro_batches

PIG = Concept(erase="pig", alternative="cow", templates=("{}",))
METHOD = AllButOne(
    start="none",
    rounds=1,
    trajectories=4,
    points=2,
    sampling_steps=2,
    rho=1.0,
    tune=Tune(steps=4, batch_size=4, check=2, lr=1e-3),
)


def tuned(**settings) -> AllButOne:
    return replace(METHOD, tune=replace(METHOD.tune, **settings))


def flat(edit: Edit) -> torch.Tensor:
    return torch.cat([t.flatten() for t in edit.tensors().values()])


def alike(one: Edit, other: Edit) -> float:
    return float(torch.cosine_similarity(flat(one), flat(other), dim=0))


def test_a_batch_in_parts_takes_the_same_steps(model):
    whole = METHOD(model, PIG)
    assert alike(whole, tuned(gradient_accumulation=2)(model, PIG)) > 0.999
    assert alike(whole, tuned(batch_size=2)(model, PIG)) < 0.999, "which a smaller batch does not"
    with pytest.raises(InputError, match="must be a multiple"):
        tuned(gradient_accumulation=3)(model, PIG)


def test_no_more_rows_go_through_at_once_than_the_model_takes(model, monkeypatch):
    """Where nothing is trained: trajectories, the teacher's answers, looks at the held-out part."""
    rows = []
    monkeypatch.setattr(type(model), "max_batch", 2)
    model.denoiser.register_forward_pre_hook(
        lambda _, args: None if torch.is_grad_enabled() else rows.append(len(args[0]))
    )
    edit = METHOD(model, PIG)
    assert max(rows) == 2
    assert any(delta.abs().max() > 0 for delta in edit.deltas.values())


def test_each_process_has_rows_of_its_own(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    rows = []
    for rank in "01":
        monkeypatch.setenv("RANK", rank)
        rows += [i for part in micro_batches(8, 2) for i in range(8)[part]]
    assert rows == list(range(8))


@pytest.mark.parametrize("family", TINY)
def test_recomputing_gives_the_same_edit(family):
    """A block of the denoiser begins twice in a step, and the model is left as it was."""
    model = wrap(TINY[family](), ("cat", "dog", "house", "tree"))
    *_, block = (
        m for m in model.denoiser.modules() if type(m).__name__.endswith("TransformerBlock")
    )
    calls = []
    block.register_forward_pre_hook(lambda *_: calls.append(torch.is_grad_enabled()))
    tune = replace(METHOD.tune, steps=2, check=1)
    few = replace(METHOD, points=1, sampling_steps=1, tune=tune)
    edit, plain = few(model, PIG), calls.count(True)
    calls.clear()
    again = replace(few, tune=replace(tune, gradient_checkpointing=True))(model, PIG)
    assert calls.count(True) == 2 * plain
    assert same(edit.tensors(), again.tensors())
    losses, same_losses = (e.card["training"]["held_out_loss"] for e in (edit, again))
    assert losses == same_losses
    assert len({loss for _, loss in losses}) == 3, "each step moves the weights"
    assert not any(getattr(m, "gradient_checkpointing", False) for m in model.denoiser.modules())


def test_text_encoders_leave_the_gpu_while_training(model):
    places, steps = set(), []

    def report(progress):
        if progress.on:
            steps.append(progress.done)
            places.add((model.pipe.text_encoder.device.type, model.denoiser.device.type))

    with fake_gpu() as there:
        model.pipe.to(there)
        METHOD(model, PIG, progress=report)
        assert (steps, places) == ([1, 2, 3, 4], {("cpu", there.type)})
        assert model.pipe.text_encoder.device == there


class Recording(tracking.GeneralTracker):
    """A tracker that records its calls."""

    name, requires_logging_directory, tracker, calls = "recording", True, None, []

    def __init__(self, run, logging_dir):
        super().__init__()
        self.calls.append((run, logging_dir))

    def start(self):
        pass

    def store_init_configuration(self, values):
        self.calls.append(values)

    def log(self, values, step, **more):
        self.calls.append((step, sorted(values)))

    def finish(self):
        self.calls.append("finished")


@pytest.mark.usefixtures("few_images")
def test_samples_and_trackers_change_nothing(run, quick, folder, tmp_path, monkeypatch):
    monkeypatch.setitem(tracking.LOGGER_TYPE_TO_CLASS, "recording", Recording)
    words = ("erase", "pig=cow", "--config", quick, "--model", folder, "--steps", "2")
    assert run(*words, "--out", "plain")[0] in (0, 3)
    code, _, err = run(*words, "--out", "seen", "--sample-every", "1", "--track", "recording")
    assert code in (0, 3), err
    assert same(Edit.load("plain").tensors(), Edit.load("seen").tensors())
    (name, logs), settings, *steps, end = Recording.calls
    assert (name, logs, end) == ("seen", "seen.logs", "finished")
    assert settings["tune.steps"] == 2
    assert steps == [(1, ["best held-out loss", "loss"]), (2, ["best held-out loss", "loss"])]
    with Image.open(tmp_path / "seen" / "samples.png") as sheet:
        assert sheet.width > 3 * 128, "before, and a column for each of two steps"
    assert not list(tmp_path.glob("seen.samples*"))
    code, _, err = run(*words, "--out", "other", "--track", "nobody")
    assert (code, "unknown tracker" in err) == (2, True)


def apart(one: Edit, other: Edit) -> float:
    """The norm of their difference, in norms of the first."""
    return float((flat(one) - flat(other)).norm() / flat(one).norm())


@processes
def test_two_processes_make_the_edit_that_one_makes(run, quick, folder, tmp_path):
    """Started by torchrun, ten steps. The second writes nothing.

    What is left is the order in which the gradients are summed.
    """
    quick.write_text(QUICK.replace("steps: 2, batch_size: 2", "steps: 10, batch_size: 4"))
    words = ("erase", "pig=cow", "--config", quick, "--model", folder, "--evaluate", "none")
    assert run(*words, "--out", "alone")[0] == 0
    torchrun(2, *words, "--out", "together", folder=tmp_path)
    assert apart(Edit.load("alone"), Edit.load("together")) < 1e-3
    quick.write_text(QUICK.replace("steps: 2, batch_size: 2", "steps: 10, batch_size: 2"))
    assert run(*words, "--out", "half")[0] == 0
    assert apart(Edit.load("alone"), Edit.load("half")) > 1e-2, (
        "half of the batch alone makes another edit"
    )


@processes
def test_two_processes_end_together(quick, folder, tmp_path):
    """SIGTERM reaches one of them, and not the one that writes: the other would wait for its
    gradients for ever.
    """
    quick.write_text(
        QUICK.replace(
            "steps: 2, batch_size: 2, check: 1", "steps: 100000, batch_size: 2, check: 1000"
        )
    )
    words = (
        "erase",
        "pig=cow",
        "--config",
        quick,
        "--model",
        folder,
        "--evaluate",
        "none",
        "--out",
        "out",
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    team = dict(
        WORLD_SIZE="2",
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
        OMP_NUM_THREADS="1",
        PYTHONWARNINGS="default",
    )
    with (
        CommandProcess(
            *words, folder=tmp_path, environment={**team, "RANK": "0", "LOCAL_RANK": "0"}
        ) as first,
        CommandProcess(
            *words, folder=tmp_path, environment={**team, "RANK": "1", "LOCAL_RANK": "1"}
        ) as second,
    ):
        assert any(line.strip() == "training" for line in first.stderr), "it never began to train"
        second.send_signal(signal.SIGTERM)
        ends = [(process.stderr.read(), process.wait()) for process in (first, second)]
        assert [code for _, code in ends] == [143, 143], ends
    assert not (tmp_path / "out").exists()


# Little of what comes before the loop.
LOOPS = {
    "esd": "{}",
    "receler": "{}",
    "sae": "{features: 512, active: 8, top: 16}",
    "concept-ablation": "{images: 2, sampling_steps: 2}",
}


@pytest.mark.parametrize("method", LOOPS)
def test_a_method_with_a_loop_of_its_own_is_not_shared(run, folder, tmp_path, monkeypatch, method):
    monkeypatch.setenv("WORLD_SIZE", "2")
    (tmp_path / "quick.yaml").write_text(f"settings: {LOOPS[method]}\n")
    words = ("erase", "pig", "--to", "cow", "--method", method, "--config", "quick.yaml")
    code, _, err = run(*words, "--model", folder, "--evaluate", "none")
    assert (code, "in one process" in err) == (2, True), err
