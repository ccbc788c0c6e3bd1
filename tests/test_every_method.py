"""What holds for every method. A new method adds one row."""

import pytest
import torch
from conftest import same, state

from unconcept import AllButOne, Concept, Edit, RunError, Tune, wrap

TUNE = Tune(steps=6, batch=4, check=2, lr=1e-2, seed=1)
QUICK = dict(trajectories=6, points=2, sampling_steps=4, tune=TUNE)
METHODS = [
    pytest.param(AllButOne(**QUICK), id="all-but-one"),
    pytest.param(AllButOne(**QUICK, surgical=False, keep=0.0), id="all-but-one, joint, no keep term"),
]
CONCEPTS = (Concept(erase="pig", alternative="cow"), Concept(erase="bomb"))


@pytest.mark.parametrize("method", METHODS)
def test_contract(method, pipe, tmp_path):
    model = wrap(pipe, ("cat", "dog", "house", "tree"))
    base = state(pipe.unet)
    edit = method(model, *CONCEPTS)
    assert same(base, state(pipe.unet)), "training leaves the model bit for bit as it was"
    assert isinstance(edit, Edit)
    assert any(d.abs().max() > 0 for d in edit.deltas.values())

    trace = dict(edit.card["training"]["held_out_loss"])
    assert min(trace.values()) < trace[0], "the held-out loss falls"

    again = method(model, *CONCEPTS)
    assert same(dict(edit.deltas), dict(again.deltas)), "the same seed gives the same bits"

    loaded = Edit.load(edit.save(tmp_path / "edit.safetensors"))
    assert same(dict(edit.deltas), dict(loaded.deltas))
    assert loaded.card["model_sha256"] == model.fingerprint()

    x, t, c = torch.randn(2, 4, 8, 8), torch.tensor([500, 20]), model.encode(["a pig", "a cat"])
    plain = model.predict(x, t, c)
    with edit.on(model):
        inside = model.predict(x, t, c)
    assert not torch.equal(plain, inside)
    loaded.apply(pipe)
    assert torch.equal(model.predict(x, t, c), inside), "applied is the same as on"
    loaded.remove(pipe)
    assert same(base, state(pipe.unet)), "removing is exact"


@pytest.mark.parametrize("method", METHODS)
def test_a_loss_that_is_not_finite_keeps_nothing(method, model):
    base = state(model.pipe.unet)
    from dataclasses import replace

    with pytest.raises(RunError, match="nothing was kept"):
        replace(method, tune=replace(TUNE, lr=1e30, steps=8))(model, *CONCEPTS)
    assert same(base, state(model.pipe.unet))
