"""What a run will need, from shapes alone, against what a real one does."""

from dataclasses import replace

import pytest
import torch
from tiny import TINY

from unconcept import AllButOne, Concept, InputError, Tune, budget, load, wrap
from unconcept.cost import counted

METHOD = AllButOne(trajectories=4, points=2, sampling_steps=4, tune=Tune(steps=3, batch=4, check=2))
TOLD = [family for family in TINY if family not in ("qwen-image", "z-image")]  # whose pipelines look at values


def tuned(**settings) -> AllButOne:
    return replace(METHOD, tune=replace(METHOD.tune, **settings))


@pytest.fixture(params=TOLD)
def both(request, tmp_path):
    """(the model, its ghost)"""
    pipe = TINY[request.param]()
    pipe.save_pretrained(tmp_path)
    if request.param.startswith("flux"):
        pipe.default_sample_size = 128  # what the folder does not say, the pipeline's class does
    return wrap(pipe, ()), load(tmp_path, device="meta")


def kept(model, rows: int) -> int:
    """Bytes that autograd really keeps of a forward pass on the processor, weights apart."""
    weights, seen = {p.untyped_storage()._cdata for p in model.denoiser.parameters()}, {}
    for site in model.group("cross-attention keys and values"):
        getattr(*site.find(model.components)).requires_grad_(True)

    def keep(t):
        seen[t.untyped_storage()._cdata] = t
        return t

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        model.predict(torch.zeros(rows, *model.latent_shape), torch.full((rows,), 500), model.encode(["a pig"] * rows))
    return sum(t.untyped_storage().nbytes() for place, t in seen.items() if place not in weights)


def test_activations_are_those_of_a_real_pass(both):
    """Flash attention on the processor keeps one number a row and head besides: a few per cent."""
    real, ghost = both
    told = budget.budget(ghost, METHOD).activations
    assert told == pytest.approx(kept(real, rows=3 * 4), rel=0.08)
    assert budget.budget(ghost, tuned(parts=2)).activations == told // 2
    assert budget.budget(ghost, tuned(checkpointing=True)).activations < 0.8 * told
    small = budget.budget(ghost, tuned(rank=1))
    assert small.training < budget.budget(ghost, METHOD).training
    assert small.activations < 1.5 * told


def test_nothing_of_the_ghost_is_left_changed(both):
    _, ghost = both
    budget.budget(ghost, tuned(checkpointing=True))
    assert not any(p.requires_grad or p.grad is not None for p in ghost.denoiser.parameters())
    assert {p.device.type for c in ghost.components.values() for p in c.parameters()} == {"meta"}


def test_network_calls_are_counted_beforehand(model, folder):
    with counted(model) as calls:
        METHOD(model, Concept(erase="pig", alternative="cow"))
    assert budget.budget(load(folder, device="meta"), METHOD).calls == pytest.approx(calls["n"], rel=0.15)


def test_what_does_not_fit_is_said_with_what_would(run, folder, quick, monkeypatch):
    words = ("erase", "pig", "--config", quick, "--model", folder, "--dry-run")
    code, out, _ = run(*words)
    assert (code, "warning" in out, "GiB while training" in out) == (0, False, True)
    ghost = load(folder, device="meta")
    method = AllButOne(trajectories=4, points=2, sampling_steps=3, tune=Tune(steps=2, batch=2, check=1))
    monkeypatch.setattr(budget, "room", lambda device: budget.budget(ghost, replace(method, tune=replace(method.tune, parts=2))).peak)
    assert "warning  this will not fit: settings: tune: {parts: 2, checkpointing: false} would" in run(*words)[1]
    monkeypatch.setattr(budget, "room", lambda device: 1)
    assert "no batch in parts makes it fit" in run(*words)[1]


def test_a_single_file_does_not_say_its_shapes(tmp_path):
    with pytest.raises(InputError, match="does not say its shapes"):
        load(tmp_path / "model.safetensors", device="meta")
