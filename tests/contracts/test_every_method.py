"""What holds for every method. A new method adds one row in support/method_rows.py."""

from dataclasses import replace

import pytest
import torch
from conftest import same, state
from support.method_rows import CONCEPTS, HARD, LONG, REFUSALS, ROWS, TUNE

from unconcept import AllButOne, Edit, InputError, RunError, wrap
from unconcept.methods import METHODS
from unconcept.methods.negative_prompt import NegativePrompt
from unconcept.methods.receler import Receler
from unconcept.methods.sae import SAE
from unconcept.methods.sld import SLD
from unconcept.methods.speed import SPEED
from unconcept.methods.uce import UCE

every = pytest.mark.parametrize(
    "method", [pytest.param(method, id=name) for name, method in ROWS.items()]
)
trained = pytest.mark.parametrize(
    "method",
    [
        pytest.param(m, id=n)
        for n, m in ROWS.items()
        if not isinstance(m, UCE | SPEED | SAE | NegativePrompt | SLD)
    ],
)


def test_every_method_has_its_row():
    assert {type(method) for method in ROWS.values()} == set(METHODS.values())
    assert set(METHODS) <= set(ROWS)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_tells_the_same_things(name, run):
    """All but One has no authors' code to differ from."""
    _, told, _ = run("show", name)
    headings = [
        "Source",
        "Idea",
        "Equation",
        "Cost",
        "Problems",
        *([] if name == "all-but-one" else ["Differences"]),
    ]
    assert [
        line.split()[0] for line in told.splitlines() if line[:12].rstrip() in headings
    ] == headings


@every
def test_contract(method, pipe, tmp_path):
    model = wrap(pipe, ("cat", "dog", "house", "tree"))
    for kind, refusal in REFUSALS.get(model.family, {}).items():
        if isinstance(method, kind):
            with pytest.raises(InputError, match=refusal):
                method(model, *CONCEPTS)
            return
    concepts = LONG if model.family in HARD else CONCEPTS
    if isinstance(method, AllButOne):
        method = replace(method, **HARD.get(model.family, {}))
    everything = lambda: {
        f"{part}.{name}": t
        for part, module in {**model.components, "vae": pipe.vae}.items()
        for name, t in state(module).items()
    }
    base, whole = state(model.denoiser), everything()
    edit = method(model, *concepts)
    assert same(whole, everything()), "erasing leaves the pipeline bit for bit as it was"
    assert isinstance(edit, Edit)
    assert any(t.abs().max() > 0 for t in edit.tensors().values())
    assert edit.card["method"] in METHODS
    assert edit.card["settings"]
    assert [c["erase"] for c in edit.card["concepts"]] == [concept.erase for concept in concepts]

    if isinstance(method, AllButOne):
        trace = dict(edit.card["training"]["held_out_loss"])
        assert min(trace.values()) < trace[0], "the held-out loss falls"

    again = method(model, *concepts)
    assert same(edit.tensors(), again.tensors()), "the same seed gives the same bits"

    loaded = Edit.load(edit.save(tmp_path / "edit.safetensors"))
    assert same(edit.tensors(), loaded.tensors())
    assert loaded.card["model_sha256"] == model.fingerprint()

    x, t = torch.randn(3, *model.latent_shape), torch.tensor([500, 20, 400])
    say = lambda: model.predict(
        x, t, model.encode([f"a {concepts[0].erase}", "a cat", ""])
    )  # an edit may sit in the text encoder
    plain = say()
    with edit.on(model):
        inside = say()
    assert not torch.equal(plain, inside)
    with edit.scale(0.0).on(model):
        assert torch.equal(say(), plain), "dialled to 0 it is the model as it was"
    loaded.apply(pipe)
    assert torch.equal(say(), inside), "applied is the same as on"
    loaded.remove(pipe)
    assert same(base, state(model.denoiser)), "removing is exact"
    assert torch.equal(say(), plain)


@trained
def test_its_loss_falls(method, model):
    """Of a method that draws another point at every step: the mean of the last twenty below that of the first. Of Receler its
    first term, while the adversary, whose aim is that it does not fall, stands still."""
    if isinstance(method, AllButOne):
        pytest.skip("held out: test_contract")
    losses, more = (
        [],
        dict(lr=3e-2, attack_lr=1e-9, local=0.0) if isinstance(method, Receler) else dict(lr=3e-3),
    )
    replace(method, steps=100, **more)(
        model, CONCEPTS[0], progress=lambda p: losses.append(p.loss) if p.loss is not None else None
    )
    assert sum(losses[-20:]) < 0.8 * sum(losses[:20]), (
        sum(losses[:20]) / 20,
        sum(losses[-20:]) / 20,
    )


@trained
def test_a_loss_that_is_not_finite_keeps_nothing(method, model):
    base = state(model.pipe.unet)
    wild = (
        replace(method, tune=replace(TUNE, lr=1e30, steps=8))
        if isinstance(method, AllButOne)
        else replace(method, lr=1e30, steps=8)
    )
    with pytest.raises(RunError, match="nothing was kept"):
        wild(model, *CONCEPTS)
    assert same(base, state(model.pipe.unet))
