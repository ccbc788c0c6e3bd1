"""What a run will need, from shapes alone, against what a real one does."""

import re
from dataclasses import replace

import pytest
import torch
from conftest import QUICK
from support.shapes import folder
from support.tiny_pipelines import TINY

from unconcept import AllButOne, Concept, Edit, InputError, Tune, load, wrap
from unconcept.cli.run_config import Request, plan
from unconcept.config.options import Source
from unconcept.methods import all_but_one
from unconcept.models.conditioning import pick
from unconcept.models.quantization import bytes_saved
from unconcept.profiling import cpu_memory, dry_run
from unconcept.profiling import memory_estimate as budget
from unconcept.profiling.memory_fit import HEADROOM, MemoryPredictor
from unconcept.profiling.memory_savings import Setting
from unconcept.profiling.usage import count_calls

METHOD = AllButOne(
    start="none",
    rounds=1,
    trajectories=4,
    points=2,
    sampling_steps=4,
    tune=Tune(steps=3, batch_size=4, check=2),
)


def tuned(**settings) -> AllButOne:
    return replace(METHOD, tune=replace(METHOD.tune, **settings))


@pytest.fixture(scope="module", params=TINY)
def both(request, tmp_path_factory):
    """(the model, its ghost): tests leave them as they were."""
    pipe = TINY[request.param]()
    path = tmp_path_factory.mktemp(request.param)
    pipe.save_pretrained(path)
    ghost = load(path, device="meta")
    if hasattr(pipe, "default_sample_size"):
        ghost.pipe.default_sample_size = (
            pipe.default_sample_size
        )  # what the folder does not say, the pipeline's class does
    return wrap(pipe, ()), ghost


def saved_bytes(model, rows: int) -> int:
    """Bytes that autograd really keeps of a forward pass on the CPU, without the weights."""
    weights, seen = {p.untyped_storage()._cdata for p in model.denoiser.parameters()}, {}
    group = []
    for site in model.weight_group("cross-attention keys and values"):
        group.append(getattr(*site.find(model.components)))
    asked = [weight.requires_grad for weight in group]
    for weight in group:
        weight.requires_grad_(True)

    def keep(t):
        seen[t.untyped_storage()._cdata] = t
        return t

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        model.predict(
            torch.zeros(rows, *model.latent_shape),
            torch.full((rows,), 500),
            model.encode(["a pig " * 200] * rows),
        )
    for weight, before in zip(group, asked):
        weight.requires_grad_(before)
    return sum(t.untyped_storage().nbytes() for place, t in seen.items() if place not in weights)


def test_activations_are_those_of_a_real_pass(both):
    """Flash attention on the CPU keeps one number per row and head besides: a few per cent.

    Tables of rotations are counted for every row: in a small Qwen-Image an eighth of all.
    """
    real, ghost = both
    counted = budget.Passes(ghost)

    def estimated(method):
        return budget.estimate_memory(ghost, method, passes=counted)

    estimate = estimated(METHOD).activations
    assert estimate == pytest.approx(
        saved_bytes(real, rows=3 * 4), rel=0.13 if real.family == "qwen-image" else 0.08
    )
    assert estimated(tuned(gradient_accumulation=2)).activations == estimate // 2
    assert estimated(tuned(gradient_checkpointing=True)).activations < 0.8 * estimate
    small = estimated(tuned(rank=1))
    assert small.training < estimated(METHOD).training
    assert small.activations < 1.5 * estimate


def test_nothing_of_the_ghost_is_left_changed(both):
    _, ghost = both
    budget.estimate_memory(ghost, tuned(gradient_checkpointing=True))
    assert not any(p.requires_grad or p.grad is not None for p in ghost.denoiser.parameters())
    assert {p.device.type for c in ghost.components.values() for p in c.parameters()} == {"meta"}


@pytest.mark.parametrize("n", [1, 4])
def test_network_calls_are_counted_beforehand(model, folder, n):
    with count_calls(model) as calls:
        METHOD(
            model,
            *(
                Concept(erase=word, alternative="cow")
                for word in ("pig", "cat", "dog", "house")[:n]
            ),
        )
    assert budget.estimate_memory(load(folder, device="meta"), METHOD, n).calls == pytest.approx(
        calls["n"], rel=0.15
    )


def random_predictions(predict):
    """Like a model's `predict`, but only the first call runs the network, on one row."""
    layouts = []

    def random(self, x, t, condition):
        if not layouts:
            layouts.append(predict(self, x[:1], t[:1], pick(condition, slice(0, 1))))
        (row,) = layouts
        return torch.randn(len(x), *row.shape[1:], dtype=row.dtype)

    return random


@pytest.mark.parametrize("names", [["pig"], ["pig", "cat", "dog", "house"]])
def test_the_host_holds_what_a_recording_holds(both, names, monkeypatch):
    """Conditions to the byte, points within a tenth: some trajectories have one more than others.

    Of four concepts two are trained at once. The network runs once: what is counted does not
    depend on its numbers.
    """
    (real, ghost), recorded = both, []
    for model in (real, ghost):
        monkeypatch.setattr(model, "vocabulary", ("tree", "bird"))
    concepts = [Concept(erase=name, alternative="cow") for name in names]
    method = replace(METHOD, trajectories=8, sampling_steps=5)

    def fit(model, replays, *_, **__):
        recorded.append(replays)
        nothing = {"steps": 0, "seconds": 0.0, "held_out_loss": []}
        return Edit({}, {"training": nothing})

    monkeypatch.setattr(all_but_one, "fit", fit)
    monkeypatch.setattr(type(real), "predict", random_predictions(type(real).predict))
    method(real, *concepts[:2])
    tensors = [(name, t) for replay in recorded[0].values() for name, t in replay.tensors().items()]
    conditions = [t for name, t in tensors if name.startswith("asked.")]
    estimate = cpu_memory.estimate_cpu_memory(ghost, method, concepts)
    assert estimate.conditions == sum(t.nbytes for t in conditions)
    assert estimate.points + estimate.conditions == pytest.approx(
        sum(t.nbytes for _, t in tensors), rel=0.1
    )


def test_the_host_holds_prompts_and_not_points(tmp_path):
    """At the shapes of Flux.1 a prompt is 512 states of 4096 numbers in bf16 and CLIP's 768; of
    a part of them in double precision.
    """
    ghost = load(folder("flux", tmp_path), device="meta", dtype="bf16")
    ghost.pipe.default_sample_size = 128
    method = AllButOne(tune=Tune(group="prompt embedders"))
    estimate = cpu_memory.estimate_cpu_memory(
        ghost, method, [Concept(erase="pig", alternative="cow")]
    )
    assert estimate.prompts == 5 + 5 + 1 + 2 * method.trajectories * method.points
    assert estimate.conditions == estimate.prompts * 2 * (512 * 4096 + 768)
    assert estimate.states < 2**30
    assert (
        cpu_memory.estimate_cpu_memory(
            ghost, replace(method, tune=Tune(whiten=None)), [Concept(erase="pig")]
        ).states
        == 0
    )


def test_what_does_not_fit_is_said_with_what_would(run, folder, quick, monkeypatch):
    quick.write_text(QUICK.replace("batch_size: 2", "batch_size: 256"))
    words = ("erase", "pig", "--config", quick, "--model", folder, "--dry-run")
    words = (*words, "--device", "cpu", "--dtype", "fp32")
    code, out, _ = run(*words)
    assert (
        code,
        "warning" in out,
        "while training" in out,
        "of CPU memory in addition (replay points" in out,
    ) == (0, False, True, True)
    assert re.search(
        r"time     at least [0-9.]+ (s|min|h|days) of erasing: [0-9,]+ network calls", out
    )
    predictor = MemoryPredictor(Source(str(folder), device="cpu"), [Concept(erase="pig")])
    method = AllButOne(
        start="none",
        rounds=1,
        trajectories=4,
        points=2,
        sampling_steps=3,
        tune=Tune(steps=2, batch_size=256, check=1),
    )

    def holds(need, quantize=None):
        bytes_free = int(predictor.needed(Setting(need, "fp32", quantize)) / HEADROOM) + 1
        monkeypatch.setattr(dry_run, "free_memory", lambda device: bytes_free)

    holds(replace(method, tune=replace(method.tune, gradient_accumulation=2)))
    out = run(*words)[1]
    assert "warning  this will not fit: settings: tune: {gradient_accumulation: 2} would" in out
    assert "--memory auto takes gradient_accumulation 2" in out
    monkeypatch.setattr(dry_run, "free_memory", lambda device: 1000)
    assert "no saving makes it fit" in run(*words)[1]


def test_savings_are_named_as_a_file_and_the_command_line_name_them():
    savings = {"rank": 8, "gradient_checkpointing": True, "dtype": "bf16", "quantize": "nf4"}
    assert dry_run.describe_settings(savings) == (
        "settings: tune: {rank: 8, gradient_checkpointing: true} and --dtype bf16 "
        "and --quantize nf4"
    )


def test_text_encoders_leave_a_gpu_for_cpu_memory(run, folder, quick, monkeypatch):
    words = ("erase", "pig", "--config", quick, "--model", folder, "--dry-run")
    assert "text encoders" not in run(*words)[1]
    for name, there in {
        "choose_device": torch.device("cuda"),
        "free_memory": 2**35,
        "matmul_speed": 1e12,
    }.items():
        monkeypatch.setattr(dry_run, name, lambda *_, there=there: there)
    assert re.search(r"B\), and text encoders [0-9.]+ [kM]B\n", run(*words)[1])
    assert "CPU memory" not in run(*words)[1].partition("time ")[2]
    monkeypatch.setattr(
        dry_run, "free_memory", lambda device: 2**35 if device.type == "cuda" else 1
    )
    assert "warning  CPU memory will not hold it" in run(*words)[1]


def test_what_is_never_made_is_not_counted(tmp_path):
    """At Stable Diffusion's shapes a step of one point reads 4 · 77 states of 768 numbers: Δ,
    the student's weights and both gradients are not made.
    """
    ghost = load(folder("stable-diffusion", tmp_path), device="meta", dtype="bf16")
    counted = budget.Passes(ghost)

    def trained(**tune):
        return budget.estimate_memory(ghost, AllButOne(tune=Tune(**tune)), passes=counted)

    one, whole = trained(batch_size=1), trained(batch_size=8)
    assert whole.training - one.training == 12 * one.trained_parameters
    assert trained(batch_size=8, gradient_accumulation=8).training == one.training
    assert trained(batch_size=1, whiten=None).training > one.training


def test_a_single_file_does_not_say_its_shapes(tmp_path):
    with pytest.raises(InputError, match="does not say its shapes"):
        load(tmp_path / "model.safetensors", device="meta")


@pytest.mark.parametrize(
    ("family", "parameters", "presets"),
    [
        ("stable-diffusion", 859.5e6, ["sd-8gb"]),
        ("stable-diffusion-xl", 2567.5e6, ["sdxl-12gb", "sdxl-24gb"]),
    ],
)
def test_presets_fit_the_gpu_that_they_are_named_after(tmp_path, family, parameters, presets):
    """A fifth and more is left for what is not counted: the allocator, sampling, the driver."""
    ghost = load(folder(family, tmp_path), device="meta", dtype="bf16")
    assert sum(p.numel() for p in ghost.denoiser.parameters()) == pytest.approx(
        parameters, rel=1e-3
    )
    assert budget.estimate_memory(ghost, AllButOne(start="none")).peak > 12 * 2**30, (
        "without one it does not fit"
    )
    for preset in presets:
        job = plan(Request(("pig",), model=str(tmp_path), preset=preset, seed=0))
        room = int(preset.split("-")[1].removesuffix("gb")) * 1e9
        assert budget.estimate_memory(ghost, job.method).peak < 0.8 * room


@pytest.mark.parametrize(
    ("family", "parameters", "preset"),
    [
        ("stable-diffusion-3", 2.243e9, "sd3-24gb"),
        ("flux", 11.9e9, "flux-24gb"),
        ("flux-2-klein", 3.876e9, "flux2-klein-24gb"),
        ("qwen-image", 20.43e9, "qwen-image-48gb"),
        ("z-image", 6.15e9, "z-image-16gb"),
        ("sana", 1.604e9, "sana-16gb"),
    ],
)
def test_transformers_fit_by_their_presets(tmp_path, family, parameters, preset):
    ghost = load(folder(family, tmp_path), device="meta", dtype="bf16")
    ghost.pipe.default_sample_size = 128
    assert sum(p.numel() for p in ghost.denoiser.parameters()) == pytest.approx(
        parameters, rel=5e-3
    )
    job = plan(Request(("pig",), model=str(tmp_path), preset=preset, seed=0))
    room = int(preset.split("-")[-1].removesuffix("gb")) * 1e9
    assert (
        budget.estimate_memory(ghost, AllButOne(tune=Tune(group=job.method.tune.group))).peak > room
    ), "with the defaults it does not"
    peak = budget.estimate_memory(ghost, job.method, quantize=job.quantize).peak
    assert peak < 0.8 * room
    if job.quantize:
        saved = bytes_saved(ghost, job.quantize, job.method.tune.group)
        assert peak + saved > 0.8 * room, "its weights as they are would not"


def test_a_wrong_precision_in_a_file_names_the_right_ones(run, tmp_path):
    (tmp_path / "job.yaml").write_text("quantize: nf5\n")
    code, _, err = run("erase", "pig", "--config", str(tmp_path / "job.yaml"), "--dry-run")
    assert (code, "nf4, int8" in err) == (2, True)


def test_an_unknown_preset_names_the_known_ones(run):
    code, _, err = run("erase", "pig", "--preset", "sd-1gb", "--dry-run")
    assert (code, "sdxl-12gb" in err) == (2, True)
    code, out, _ = run("erase", "--preset", "list")
    assert (code, "sdxl-12gb " in out, max(map(len, out.splitlines())) < 80) == (0, True, True)
