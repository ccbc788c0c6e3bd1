"""What holds for every method. A new method adds one row."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import same, state

from unconcept import AllButOne, Concept, Edit, InputError, RunError, Tune, wrap
from unconcept.methods import ESD, METHODS, RECE, SAE, SDD, SLD, SPM, UCE, ConceptAblation, NegativePrompt, Receler
from unconcept.show import about_methods

TUNE = Tune(steps=6, batch=4, check=2, lr=1e-3, seed=1)
QUICK = dict(trajectories=12, points=2, sampling_steps=4, tune=TUNE)
WALK = dict(steps=4, lr=1e-3, sampling_steps=3)
ROWS = {
    "all-but-one": AllButOne(**QUICK, keep=0.1),
    "all-but-one, joint, no keep term": AllButOne(**QUICK, surgical=False, keep=0.0),
    "all-but-one, against an adversary": AllButOne(**QUICK, keep=0.1, adversary=2, attacks=2),
    "all-but-one, paraphrases": AllButOne(**QUICK, keep=0.1, paraphrase=0.5),
    "concept-ablation": ConceptAblation(**WALK, pictures=3),
    "concept-ablation, frozen": ConceptAblation(**WALK, pictures=3, frozen=True),
    "esd": ESD(**WALK),
    "esd, the newer form": ESD(**WALK, form="newer", eta=2.0, group="x-strict"),
    "esd, from the teacher, an attribute": ESD(**WALK, walk="teacher", erase_from="animal", eta=2.0),
    "negative-prompt": NegativePrompt(),
    "rece": RECE(),
    "receler": Receler(**WALK, attacks=2, rank=4, tokens=3),
    "sae": SAE(features=512, active=8, steps=50, top=16, batch=16, cache=False),
    "sdd": SDD(**WALK, average=0.5),
    "sld": SLD(warmup=0),
    "spm": SPM(**WALK),
    "uce": UCE(),
    "uce, all tokens": UCE(tokens="all", lam=0.1),
}
CONCEPTS = (Concept(erase="pig", alternative="cow"), Concept(erase="bomb", alternative="ball", keep=("cat",)))
REFUSALS = {  # what a family cannot do, and how it says so
    "stable-diffusion-xl": {SAE: "several text encoders"},
    "stable-diffusion-3": (JOINT := {SAE: "several text encoders", Receler: "no cross-attention"}),
    "flux": {**JOINT, NegativePrompt: "distilled", SLD: "distilled"},
    "flux-2-klein": (CHAT := {**JOINT, SAE: "inside a template"}),
    "qwen-image": CHAT,
    "z-image": {**CHAT, NegativePrompt: "lists", SLD: "lists"},
    "sana": {SAE: "inside a template"},
}
# Where hundreds of tokens of a template stand around a prompt, or one network has much to say, a tiny random model needs long words and other settings.
LONG = tuple(Concept(erase=f"{a} " * 16, alternative=f"{b} " * 16, keep=("cat",)) for a, b in (("pig", "cow"), ("bomb", "ball")))
HARD = {
    "flux": dict(tune=replace(TUNE, lr=3e-4)),
    "flux-2-klein": {},
    "qwen-image": dict(trajectories=48, tune=replace(TUNE, batch=32)),
    "sana": dict(tune=replace(TUNE, lr=1e-5)),
}
every = pytest.mark.parametrize("method", [pytest.param(method, id=name) for name, method in ROWS.items()])
trained = pytest.mark.parametrize(
    "method", [pytest.param(m, id=n) for n, m in ROWS.items() if not isinstance(m, UCE | SAE | NegativePrompt | SLD)]
)


def test_every_method_has_its_row():
    assert {type(method) for method in ROWS.values()} == set(METHODS.values())
    assert set(METHODS) <= set(ROWS)


def test_the_documentation_says_what_the_files_say():
    told = (Path(__file__).parent.parent / "docs/methods.md").read_text()
    assert told == about_methods(), "make it anew: python -c 'from unconcept.show import about_methods; print(about_methods(), end=\"\")'"


@pytest.mark.parametrize("name", METHODS)
def test_every_method_tells_the_same_things(name, run):
    """All but One has no authors' code to differ from."""
    _, told, _ = run("show", name)
    headings = ["Source", "Idea", "Equation", "Cost", "Problems", *([] if name == "all-but-one" else ["Differs"])]
    assert [line.split()[0] for line in told.splitlines() if line[:12].rstrip() in headings] == headings


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
        f"{part}.{name}": t for part, module in {**model.components, "vae": pipe.vae}.items() for name, t in state(module).items()
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
    say = lambda: model.predict(x, t, model.encode([f"a {concepts[0].erase}", "a cat", ""]))  # an edit may sit in the text encoder
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
    losses, more = [], dict(lr=3e-2, attack_lr=1e-9, local=0.0) if isinstance(method, Receler) else dict(lr=3e-3)
    replace(method, steps=100, **more)(model, CONCEPTS[0], report=lambda p: losses.append(p.loss) if p.loss is not None else None)
    assert sum(losses[-20:]) < 0.8 * sum(losses[:20]), (sum(losses[:20]) / 20, sum(losses[-20:]) / 20)


@trained
def test_a_loss_that_is_not_finite_keeps_nothing(method, model):
    base = state(model.pipe.unet)
    wild = replace(method, tune=replace(TUNE, lr=1e30, steps=8)) if isinstance(method, AllButOne) else replace(method, lr=1e30, steps=8)
    with pytest.raises(RunError, match="nothing was kept"):
        wild(model, *CONCEPTS)
    assert same(base, state(model.pipe.unet))
