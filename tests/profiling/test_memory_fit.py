"""`--memory`: the cheapest saving that fits is chosen, and after an error the next one."""

import json
from dataclasses import replace

import pytest
import torch
from conftest import QUICK, one_line

from unconcept import AllButOne, Concept, Edit, InputError, Tune
from unconcept.config.options import Source, Training
from unconcept.methods import all_but_one
from unconcept.profiling import memory_fit, memory_savings
from unconcept.profiling.memory_fit import MemoryPredictor
from unconcept.profiling.memory_savings import Setting, fixed_settings
from unconcept.workflows import erasure, memory

PIG = [Concept(erase="pig", alternative="cow")]
METHOD = AllButOne(
    start="none",
    rounds=1,
    trajectories=4,
    points=2,
    sampling_steps=3,
    tune=Tune(steps=2, batch_size=256, check=1),
)
ASKED = Setting(METHOD, "fp32")


@pytest.fixture(scope="module")
def predictor(folder):
    return MemoryPredictor(Source(str(folder), device="cpu"), PIG)


def with_tune(**changes) -> Setting:
    return replace(ASKED, method=replace(METHOD, tune=replace(METHOD.tune, **changes)))


def test_the_cheapest_saving_that_fits(predictor):
    whole = predictor.needed(ASKED)
    assert predictor.choose(ASKED, (), whole) == ASKED
    half = predictor.needed(with_tune(gradient_accumulation=2))
    assert half < whole
    assert predictor.choose(ASKED, (), half) == with_tune(gradient_accumulation=2)
    chosen = predictor.choose(ASKED, ("gradient_accumulation",), half)
    assert chosen.savings(ASKED) == {"gradient_checkpointing": True}
    following = predictor.next(ASKED, with_tune(gradient_accumulation=2), ())
    assert following == with_tune(gradient_accumulation=4)
    assert ASKED.with_savings(following.savings(ASKED)) == following


def test_nothing_fits_names_the_closest(predictor):
    with pytest.raises(InputError, match=r"does not fit into 1 kB: with .*quantize nf4 it needs"):
        predictor.choose(ASKED, ("rank", "dtype"), 1000)
    fixed = ("gradient_accumulation", "gradient_checkpointing", "rank", "adam_8bit", "dtype")
    with pytest.raises(InputError, match="with the settings as they are it needs"):
        predictor.choose(ASKED, (*fixed, "quantize"), 1000)


def test_a_closed_form_needs_no_training_memory(predictor):
    closed = Setting(AllButOne(), "fp32")
    assert predictor.estimate(closed).while_training == predictor.estimate(closed).weights
    rows = list(memory_savings.choices(closed, ()))
    assert {settings[0].method for settings in rows} == {AllButOne()}
    assert [len(settings) for settings in rows] == [1] * 4  # fp32, bf16, int8, nf4


@pytest.fixture
def on_a_gpu(folder, predictor):
    """A predictor for a GPU: what it needs follows from shapes alone."""
    other = MemoryPredictor(Source(str(folder), device="cpu"), PIG)
    other.device = torch.device("cuda")
    other._passes = predictor._passes
    return other


def test_cpu_offload_is_the_last_saving(on_a_gpu):
    closed = Setting(AllButOne(), "fp32")
    offloaded = replace(closed, cpu_offload=True)
    estimate = on_a_gpu.estimate(offloaded)
    assert estimate.text_encoders == 0
    assert estimate.weights < on_a_gpu.estimate(closed).weights
    fixed = {"dtype", "quantize"}
    least = on_a_gpu.needed(offloaded)
    assert on_a_gpu.choose(closed, fixed, least) == offloaded
    assert offloaded.savings(closed) == {"cpu_offload": True}
    assert closed.with_savings({"cpu_offload": True}) == offloaded
    assert list(memory_savings.choices(closed, (), True))[-1][0].cpu_offload
    assert "copies all weights" in memory_savings.describe_costs(offloaded.savings(closed))


def test_cpu_offload_is_not_for_a_training(on_a_gpu, folder):
    with pytest.raises(InputError, match="cpu_offload is for the closed form, and this run trains"):
        on_a_gpu.choose(ASKED, {"rank", "dtype", "quantize"}, 1000)
    for settings in memory_savings.choices(ASKED, (), True):
        assert not any(setting.cpu_offload for setting in settings)
    plan = memory.MemoryPlan(Source(str(folder), device="cpu"), AllButOne(), PIG, Training(), None)
    plan.setting = replace(plan.setting, cpu_offload=True)
    assert plan.fitted(METHOD) is None
    assert plan.fitted(AllButOne()) == AllButOne()


def test_what_the_user_set_stays():
    source = Source("model", dtype="fp32")
    requested = replace(with_tune(rank=4), quantize="int8")
    fixed = fixed_settings(source, requested, ["gradient_checkpointing"])
    assert fixed == {"gradient_checkpointing", "dtype", "quantize", "rank"}
    for settings in memory_savings.choices(requested, fixed):
        for setting in settings:
            tune = setting.method.tune
            assert (tune.rank, tune.gradient_checkpointing) == (4, False)
            assert (setting.dtype, setting.quantize) == ("fp32", "int8")


def test_small_models_are_not_predicted(folder):
    assert not memory_fit.worth_predicting(Source("emoji"), 1)
    assert not memory_fit.worth_predicting(Source(str(folder)), 2**40)
    assert memory_fit.worth_predicting(Source(str(folder)), 2**20)
    assert memory_fit.worth_predicting(Source("owner/name"), 2**40)


def test_a_run_that_does_not_fit_is_wrong_input(run, folder, tmp_path):
    words = ("erase", "pig", "--model", folder, "--device", "cpu", "--dtype", "fp32")
    code, _, err = run(*words, "--memory", "0.000001", "--out", "never")
    assert (code, one_line(err), "does not fit into 1 kB" in err) == (2, True, True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("words", ["none", "0", "-3", "nan", "12GB", ""])
def test_a_wrong_memory_is_refused(run, words):
    code, _, err = run("erase", "pig", f"--memory={words}")
    assert (code, one_line(err)) == (2, True)
    assert "auto, off, or a number of GiB" in err


@pytest.fixture
def job(tmp_path, folder):
    """Words of a command that trains with batches of 256 points."""
    file = tmp_path / "job.yaml"
    file.write_text(
        QUICK.replace("batch_size: 2", "batch_size: 256").replace("steps: 2,", "steps: 1,")
    )
    words = ("erase", "pig", "--model", folder, "--config", file, "--extent", "none", "--json")
    return (*words, "--device", "cpu", "--dtype", "fp32")


def test_a_run_chooses_and_says_so(run, job, predictor, tmp_path, caplog):
    limit = predictor.needed(with_tune(gradient_accumulation=4)) * 1.02 / 2**30
    code, out, err = run(*job, "--memory", f"{limit:.9f}", "--out", "fits")
    assert code in (0, 3), err
    assert "gradient_accumulation 4 (smaller batches are less efficient)" in caplog.text
    report = json.loads(out)
    savings = {"gradient_accumulation": 4}
    assert report["settings"]["memory"]["savings"] == savings
    assert report["settings"]["memory"]["predicted_bytes"] <= limit * 2**30
    card = Edit.load(tmp_path / "fits").card
    assert card["memory"] == savings
    assert card["settings"]["tune"]["gradient_accumulation"] == 4


def test_out_of_memory_goes_on_with_the_next_saving(run, job, monkeypatch, tmp_path, caplog):
    """The state stays: recorded points are not recorded again, and steps are not repeated."""
    fit, calls = all_but_one.fit, {"fit": []}

    def fails_once(model, replays, loss, training, **more):
        calls["fit"].append(training.tune.gradient_accumulation)
        if len(calls["fit"]) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return fit(model, replays, loss, training, **more)

    monkeypatch.setattr(all_but_one, "fit", fails_once)
    code, out, err = run(*job, "--out", "retried")
    assert code in (0, 3), err
    assert calls["fit"] == [1, 2]
    assert caplog.text.count("out of memory while recording retained prompts") == 1
    assert "going on with gradient_accumulation 2" in caplog.text
    assert json.loads(out)["settings"]["memory"]["savings"] == {"gradient_accumulation": 2}
    assert not list(memory.Path(tmp_path).rglob("*.memory.json"))


def test_no_saving_is_left(run, job, folder, monkeypatch):
    def fails(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(all_but_one, "fit", fails)
    code, _, err = run(*job, "--memory", "off", "--out", "gone")
    assert (code, "--memory auto chooses settings" in err.splitlines()[-1]) == (1, True)
    monkeypatch.setattr(erasure, "load", fails)
    words = ("erase", "pig", "--model", folder, "--method", "uce", "--device", "cpu")
    code, _, err = run(*words, "--out", "gone")
    assert (code, "no saving is left" in err.splitlines()[-1]) == (1, True)


def test_resume_goes_on_with_the_saving(folder, monkeypatch, tmp_path):
    """The run that comes after an interrupted one takes the saving that was chosen in it."""
    source, cache = Source(str(folder), device="cpu"), tmp_path / "cache" / "pictures"
    first = memory.MemoryPlan(source, METHOD, PIG, Training(), cache)
    first.choose()
    assert first.savings == {}
    first.retry("training")
    assert first.savings == {"gradient_accumulation": 2}
    later = memory.MemoryPlan(source, METHOD, PIG, Training(resume=True), cache)
    later.choose()
    assert later.setting == first.setting
    assert later.state_method(later.setting.method) == METHOD
    later.forget()
    again = memory.MemoryPlan(source, METHOD, PIG, Training(resume=True), cache)
    again.choose()
    assert again.savings == {}
