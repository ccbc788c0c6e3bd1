"""What holds for every method. A new method adds one row in support/method_rows.py."""

from dataclasses import fields, replace

import pytest
import torch
from conftest import same, state
from support.method_rows import CONCEPTS, HARD, LONG, REFUSALS, ROWS, TUNE
from support.tiny_pipelines import TINY, tiny_pipeline

from unconcept import AllButOne, Edit, InputError, RunError, wrap
from unconcept.methods import METHODS
from unconcept.methods.receler import Receler
from unconcept.methods.t2v_unlearning import T2VUnlearning

every = pytest.mark.parametrize(
    "method", [pytest.param(method, id=name) for name, method in ROWS.items()]
)


def trains(method) -> bool:
    """Does it train on the concept? Then it is `AllButOne`, or has these hyperparameters."""
    names = {field.name for field in fields(method)}
    return isinstance(method, AllButOne) or {"steps", "lr", "sampling_steps"} <= names


trained = pytest.mark.parametrize(
    "method", [pytest.param(method, id=name) for name, method in ROWS.items() if trains(method)]
)


@pytest.fixture(scope="module", params=["v_prediction", *TINY])
def whole_pipe(request):
    """A tiny pipeline, and the state of torch's random numbers after it was made."""
    name = request.param
    pipe = TINY[name]() if name in TINY else tiny_pipeline(name)
    return pipe, torch.get_rng_state()


@pytest.fixture
def pipe(whole_pipe):
    """A pipeline that many tests share: `test_contract` says that a method, and an edit that was
    removed, leave it as it was.
    """
    pipe, random_state = whole_pipe
    torch.set_rng_state(random_state)
    return pipe


def test_every_method_has_its_row():
    assert {type(method) for method in ROWS.values()} == set(METHODS.values())
    assert set(METHODS) <= set(ROWS)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_tells_the_same_things(name, run):
    """All but One has no authors' code to differ from."""
    _, text, _ = run("show", name)
    headings = [
        "Source",
        "Idea",
        "Equation",
        "Cost",
        "Problems",
        *([] if name == "all-but-one" else ["Differences"]),
    ]
    assert [
        line.split()[0] for line in text.splitlines() if line[:12].rstrip() in headings
    ] == headings


def states(modules):
    """The tensors of several modules by name."""
    tensors = {}
    for part, module in modules.items():
        for name, tensor in state(module).items():
            tensors[f"{part}.{name}"] = tensor
    return tensors


@every
def test_contract(method, pipe, tmp_path):
    model = wrap(pipe, ("cat", "dog", "house", "tree"))
    for kind, refusal in REFUSALS.get(model.family, {}).items():
        if isinstance(method, kind):
            with pytest.raises(InputError, match=refusal):
                method(model, *CONCEPTS)
            return
    concepts = LONG if model.family in HARD else CONCEPTS
    if isinstance(method, AllButOne) and method.trains:
        method = replace(method, **HARD.get(model.family, {}))
    modules = {**model.components, "vae": pipe.vae}
    base, whole = state(model.denoiser), states(modules)
    edit = method(model, *concepts)
    assert same(whole, states(modules)), "erasing leaves the pipeline bit for bit as it was"
    assert isinstance(edit, Edit)
    assert any(t.abs().max() > 0 for t in edit.tensors().values())
    assert edit.card["method"] in METHODS
    assert edit.card["settings"]
    assert [c["erase"] for c in edit.card["concepts"]] == [concept.erase for concept in concepts]

    if isinstance(method, AllButOne) and method.trains:
        trace = dict(edit.card["training"]["held_out_loss"])
        if method.start == "none":
            assert min(trace.values()) < trace[0], "the held-out loss falls"
        else:
            closed, *_, after = edit.card["training"]["missing"]
            assert after <= max(closed, 0.03), "the loss takes nothing back"

    # Every method on one family, and one method on every family: sampling is the family's.
    if model.family == "stable-diffusion" or method in (ROWS["all-but-one"], ROWS["esd"]):
        again = method(model, *concepts)
        assert same(edit.tensors(), again.tensors()), "the same seed gives the same bits"

    loaded = Edit.load(edit.save(tmp_path / "edit.safetensors"))
    assert same(edit.tensors(), loaded.tensors())
    assert loaded.card["model_sha256"] == model.fingerprint()

    x, t = torch.randn(3, *model.latent_shape), torch.tensor([500, 20, 400])
    prompts = [f"a {concepts[0].erase}", "a cat", ""]

    def prediction():
        return model.predict(x, t, model.encode(prompts))  # an edit may be in the text encoder

    plain = prediction()
    with edit.on(model):
        inside = prediction()
    assert not torch.equal(plain, inside)
    with edit.scale(0.0).on(model):
        assert torch.equal(prediction(), plain), "at strength 0 it is the original model"
    loaded.apply(pipe)
    assert torch.equal(prediction(), inside), "applied is the same as on"
    loaded.remove(pipe)
    assert same(base, state(model.denoiser)), "removing is exact"
    assert torch.equal(prediction(), plain)


@trained
def test_its_loss_falls(method, model):
    """The mean loss of the last twenty steps is below that of the first twenty.

    For Receler and T2VUnlearning this is the first term, with an adversary that does not move: the
    adversary works against it.
    """
    if isinstance(method, AllButOne):
        pytest.skip("held out: test_contract")
    settings = dict(steps=40, lr=1e-2, sampling_steps=2)
    if isinstance(method, Receler):
        settings |= dict(steps=50, lr=6e-2, attacks=1, attack_lr=1e-9, local=0.0)
    if getattr(method, "erase_from", None):
        settings |= dict(steps=60, lr=6e-3)
    if isinstance(method, T2VUnlearning):
        settings |= dict(lr=3e-2, alpha=0.0, beta=0.0)
    losses = []

    def record(progress):
        if progress.loss is not None:
            losses.append(progress.loss)

    replace(method, **settings)(model, CONCEPTS[0], progress=record)
    first, last = sum(losses[:20]) / 20, sum(losses[-20:]) / 20
    assert last < 0.8 * first, (first, last)


@trained
def test_a_loss_that_is_not_finite_keeps_nothing(method, model):
    base = state(model.pipe.unet)
    wild = (
        replace(method, trajectories=4, points=1, tune=replace(TUNE, lr=1e30, steps=8))
        if isinstance(method, AllButOne)
        else replace(method, lr=1e30, steps=8)
    )
    with pytest.raises(RunError, match="nothing was kept"):
        wild(model, *CONCEPTS)
    assert same(base, state(model.pipe.unet))
