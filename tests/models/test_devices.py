"""Computing on a GPU, tested on a simulated one (support/fake_device.py)."""

import functools
from dataclasses import replace

import pytest
import torch
from conftest import QUICK as QUICK_FILE
from support.fake_device import fake_gpu
from support.method_rows import ROWS
from support.tiny_pipelines import TINY, tiny_pipeline

from unconcept import AllButOne, Concept, Edit, InputError, Tune, load, wrap
from unconcept.evaluation import runner
from unconcept.models.interface import Model, Sampling

QUICK = AllButOne(
    start="none",
    rounds=1,
    trajectories=4,
    points=1,
    sampling_steps=1,
    tune=Tune(steps=1, batch_size=2, check=1),
)
PIG = Concept(erase="pig", alternative="cow", keep=("cat",), templates=("{}", "{} and a tree"))
WORDS = ("cat", "dog", "house", "tree")


def test_the_simulated_gpu_refuses_what_a_gpu_refuses():
    here = torch.ones(2)
    with fake_gpu() as there:
        moved = here.to(there)
        assert (moved.device.type, (moved + 1).device, moved[torch.tensor([0])].device) == (
            there.type,
            there,
            there,
        )
        assert (moved + 1).tolist() == [2, 2]
        for refused in (
            lambda: moved + here,
            lambda: here[moved.long()],
            lambda: torch.randn(2, device=there, generator=torch.Generator()),
        ):
            with pytest.raises(RuntimeError, match=r"cpu|processor"):
                refused()


@functools.cache
def held_out_here(family: str) -> float:
    """The held-out loss on the CPU and in single precision."""
    return held_out(QUICK(wrap(TINY[family](), WORDS), PIG))


@pytest.mark.parametrize("family", TINY)
def test_every_family_erases_there(family):
    here = held_out_here(family)
    pipe = TINY[family]()
    with fake_gpu() as there:
        model = wrap(pipe.to(there), WORDS)
        edit = QUICK(model, PIG)
        assert held_out(edit) == pytest.approx(here, rel=1e-2)
        goes_on_and_off(
            Edit({name: 0.1 * torch.ones_like(delta) for name, delta in edit.deltas.items()}), model
        )


# The simulated GPU takes a fraction of a millisecond for every operation: few of them.
EACH = {type(method): method for method in reversed(ROWS.values())} | {
    AllButOne: replace(
        QUICK,
        rho=0.1,
        sampling_steps=2,
        adversary=2,
        attacks=1,
        tune=Tune(steps=2, batch_size=2, check=2),
    )
}


@pytest.mark.parametrize(
    "method", [pytest.param(method, id=kind.__name__) for kind, method in EACH.items()]
)
def test_every_method_erases_there(method):
    pipe = tiny_pipeline()
    here = method(wrap(pipe, WORDS), PIG)
    with fake_gpu() as there:
        model = wrap(pipe.to(there), WORDS)
        edit = method(model, PIG)
        assert torch.cosine_similarity(flat(edit), flat(here), dim=0) > 0.98
        goes_on_and_off(edit.scale(20), model)


def held_out(edit: Edit) -> float:
    """Before the first step."""
    return edit.card["training"]["held_out_loss"][0][1]


def flat(edit: Edit) -> torch.Tensor:
    assert {t.device.type for t in edit.tensors().values()} == {"cpu"}, "an edit is in CPU memory"
    return torch.cat([t.flatten().float() for t in edit.tensors().values()])


def goes_on_and_off(edit: Edit, model: Model) -> None:
    def draw() -> torch.Tensor:
        return model.decode(model.sample(["a pig"], [0], Sampling(steps=1, guidance=5.0))).cpu()

    before = draw()
    with edit.on(model):
        after = draw()
    assert (after - before).abs().max() > 0
    edit.apply(model)
    assert torch.equal(draw(), after)
    edit.remove(model)
    assert torch.equal(draw(), before)


@pytest.mark.parametrize("family", TINY)
def test_every_family_erases_in_half_precision(family):
    single = held_out_here(family)
    pipe = TINY[family]()
    fingerprint = wrap(pipe, WORDS).fingerprint()
    model = wrap(pipe.to(torch.bfloat16), WORDS)
    assert model.dtype == torch.bfloat16
    assert model.fingerprint() == fingerprint, "an edit fits its model in any precision"
    edit = QUICK(model, PIG)
    assert {t.dtype for t in edit.tensors().values()} == {torch.float32}
    assert held_out(edit) == pytest.approx(single, rel=0.5)
    goes_on_and_off(
        Edit({name: 0.1 * torch.ones_like(delta) for name, delta in edit.deltas.items()}), model
    )


def test_a_missing_device_is_an_input_error(folder):
    device = "nonsense" if torch.cuda.is_available() else "cuda"
    with pytest.raises(InputError, match=f"{device}.*is not available"):
        load(folder, device=device)


def test_a_model_is_loaded_in_the_chosen_precision(folder):
    assert load(folder).dtype == torch.float32, "on a CPU"
    half = load(folder, dtype="bf16")
    assert half.dtype == torch.bfloat16
    assert half.image_cache_key() != load(folder).image_cache_key(), "its images differ"


def test_the_command_line_works_there(run, quick, folder, monkeypatch):
    """Erase, generate, purify and evaluate, from a folder on disk, with few images and steps."""
    quick.write_text(
        QUICK_FILE.replace("points: 2", "points: 1").replace(
            "sampling_steps: 3", "sampling_steps: 1"
        )
    )
    monkeypatch.setitem(runner.CASES_PER_GROUP, "short", {"target": 1, "unrelated": 1})
    monkeypatch.setitem(runner.CONTROLS, "short", 1)
    with fake_gpu() as there:
        for words in (
            ("erase", "pig=cow", "--config", quick, "--out", "gone"),
            ("generate", "a pig", "--edit", "gone", "--images", "1", "--out", "made"),
            ("purify", "made/000-seed0.png", "--edit", "gone", "--out", "pure"),
            ("evaluate", "--edit", "gone", "--extent", "short", "--out", "seen"),
        ):
            code, _, err = run(*words, "--steps", "2", "--model", folder, "--device", there.type)
            assert code in (0, 3), err
