"""Every family agrees with its pipeline: conditions, ∅, guidance, sampler, exported files."""

import functools
import inspect
from typing import get_args

import pytest
import torch
from conftest import same, state
from support.contexts import with_full_contexts
from support.tiny_pipelines import TINY, tiny_3, tiny_flux, tiny_flux2, tiny_xl

from unconcept import AllButOne, Concept, Edit, InputError, Tune, load, wrap
from unconcept.config.options import DEFAULT_STEPS, Look, SamplerName, Source
from unconcept.export.formats import export
from unconcept.export.lora import Adapter
from unconcept.methods.negative_prompt import NegativePrompt
from unconcept.models.families.flux import SCHNELL_STEPS
from unconcept.models.flow_matching import FlowModel
from unconcept.models.interface import Sampling
from unconcept.models.patchify import packed
from unconcept.models.pipeline_model import STATES
from unconcept.profiling.usage import count_calls
from unconcept.workflows.options import evaluation_sampling

WHOLE = {**TINY, "flux-2-klein": functools.partial(tiny_flux2, layers=28)}


@pytest.fixture(scope="module", params=WHOLE)
def pipe(request):
    pipe = WHOLE[request.param]()
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="module")
def edit(pipe):
    """A random change of the matrices that read the prompt."""
    model = wrap(pipe)
    torch.manual_seed(1)
    weights = {
        site.name: getattr(*site.find(model.components))
        for site in model.weight_group("cross-attention keys and values")
    }
    deltas = {name: 0.5 * w.std() * torch.randn_like(w) for name, w in weights.items()}
    return Edit(deltas, {"model_sha256": model.fingerprint(), "family": model.family})


@pytest.fixture(scope="module")
def emoji():
    """The embedded model."""
    return load("emoji")


SIZE = dict(height=16, width=16)
# Arguments that give a pipeline guidance 5 and the size of a tiny image.
ARGUMENTS = {
    "qwen-image": dict(true_cfg_scale=5.0, negative_prompt=["", ""]),
    "z-image": dict(guidance_scale=4.0, **SIZE),
    "sana": dict(guidance_scale=5.0, use_resolution_binning=False, height=32, width=32),
}


def pipeline_images(pipe, start, steps=6, **more):
    """Images [2, 3, 16, 16] that the pipeline itself samples from latents [2, C, H, W]."""
    family = wrap(pipe, ()).family
    latents = packed(start) if family in ("flux", "qwen-image") else start.clone()
    arguments = ARGUMENTS.get(family, dict(guidance_scale=5.0))
    arguments = {"prompt": ["a pig", "a cat"], **arguments, **more}
    output = pipe(latents=latents, num_inference_steps=steps, output_type="np", **arguments)
    return torch.from_numpy(output.images).movedim(-1, 1)


@pytest.fixture
def start(pipe):
    return noise(wrap(pipe, ()))


def noise(model):
    """The same noise twice."""
    generator = torch.Generator().manual_seed(3)
    return torch.randn(1, *model.latent_shape, generator=generator).repeat(2, 1, 1, 1)


def test_it_samples_what_the_pipeline_samples(pipe, start, monkeypatch):
    """Conditions, ∅, guidance, sign and time are the pipeline's own, at its own length of prompts.

    This one test reads as many tokens as the pipeline does.
    """
    with_full_contexts(monkeypatch)
    if "max_sequence_length" in inspect.signature(type(pipe).__call__).parameters:
        states = wrap(pipe, ()).encode(["a pig"])[STATES]
        assert states.shape[1] >= 256
    agree(pipe, start)


def agree(pipe, start):
    """With the same sampler, our trajectory ends where diffusers' loop does; the prompt matters."""
    model = wrap(pipe, ())
    assert set(model.samplers) <= set(get_args(SamplerName))  # the choices of --sampler
    scheduler = pipe.scheduler
    pipe.scheduler = model.make_scheduler(model.samplers[0], 6)
    theirs = pipeline_images(pipe, start)
    pipe.scheduler = scheduler
    *_, (ours, _) = model.trajectory(
        ["a pig", "a cat"], [0, 0], Sampling(steps=6, guidance=5.0), latents=start.clone()
    )
    torch.testing.assert_close(model.decode(ours), theirs, atol=1e-3, rtol=1e-3)
    assert (theirs[0] - theirs[1]).abs().max() > 0.01


def test_no_pipeline_is_called(pipe, start, monkeypatch):
    """Pipelines differ in their first argument (a prompt, an image): we call components."""
    model = wrap(pipe, ("cat", "dog"))
    monkeypatch.setattr(type(pipe), "__call__", None)
    quick = AllButOne(
        start="none",
        rounds=1,
        trajectories=4,
        points=1,
        sampling_steps=2,
        rho=0.0,
        tune=Tune(steps=1, batch_size=2, check=1),
    )
    with quick(model, Concept(erase="pig", alternative="cow", templates=("{}",))).on(model):
        assert model.decode(model.sample(["a pig"], [0], Sampling(steps=2))).shape[1] == 3


def test_negative_prompt_is_the_pipelines_own(pipe, start):
    """Pooled state and all."""
    model = wrap(pipe, ())
    if model.family in ("flux", "z-image"):
        pytest.skip("the method refuses it: tests/contracts/test_every_method.py")
    negative: dict = {"negative_prompt": ["pig"] * 2}
    pig = model.encode(["pig"] * 2)
    condition = model.encode(["a pig", "a cat"])
    if model.family == "flux-2-klein":  # does not accept text there
        negative = {"negative_prompt_embeds": pig[model.prompt_states_key]}
    if model.family == "sana":  # encodes it without its instruction; we encode all with it
        named = {
            "prompt_embeds": model.prompt_states_key,
            "prompt_attention_mask": "encoder_attention_mask",
        }
        negative = {
            "prompt": None,
            "negative_prompt": None,
            **{f"negative_{n}": pig[key] for n, key in named.items()},
            **{n: condition[key] for n, key in named.items()},
        }
    theirs = pipeline_images(pipe, start, **negative)
    with NegativePrompt()(model, Concept(erase="pig")).on(model):
        ours = pipeline_images(pipe, start)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)


def test_files_that_diffusers_opens(pipe, edit, start, tmp_path):
    """A copied folder and a LoRA give the edit's images; at scale 0 the LoRA gives the base's."""
    pipe.save_pretrained(tmp_path / "base")
    plain = pipeline_images(pipe, start)
    with edit.on(wrap(pipe, ())):
        erased = pipeline_images(pipe, start)
    moved = (erased - plain).abs().max().item()
    assert moved > 0
    export(edit, "pipeline", tmp_path / "erased", model=str(tmp_path / "base"))
    opened = type(pipe).from_pretrained(tmp_path / "erased", use_safetensors=True)
    opened.set_progress_bar_config(disable=True)
    opened.default_sample_size = 8  # Flux does not store it
    torch.testing.assert_close(pipeline_images(opened, start), erased, atol=0.01 * moved, rtol=0)
    assert load(tmp_path / "erased").family == wrap(pipe).family
    exact = Adapter(dtype="fp32")  # the rounding of bf16 is a larger change than these bounds
    export(edit, "lora", tmp_path / "lora.safetensors", rank=exact)
    fresh = type(pipe).from_pretrained(tmp_path / "base", use_safetensors=True)
    fresh.set_progress_bar_config(disable=True)
    fresh.default_sample_size = 8
    fresh.load_lora_weights(tmp_path, weight_name="lora.safetensors", adapter_name="gone")
    torch.testing.assert_close(pipeline_images(fresh, start), erased, atol=0.05 * moved, rtol=0)
    fresh.set_adapters("gone", 0.0)
    assert torch.equal(pipeline_images(fresh, start), plain)


def test_images_and_latents(pipe):
    """Shift and scale of the autoencoder's latents are removed and restored."""
    model = wrap(pipe, ())
    images = torch.rand(2, 3, model.image_size, model.image_size)
    latents = model.latents(images)
    config, video = pipe.vae.config, model.family == "qwen-image"
    encoded = pipe.vae.encode((images * 2 - 1).unsqueeze(2) if video else images * 2 - 1)
    clean = encoded.latent if hasattr(encoded, "latent") else encoded.latent_dist.mode()
    if "scaling_factor" in config:
        torch.testing.assert_close(
            latents, (clean - (config.get("shift_factor") or 0)) * config["scaling_factor"]
        )
    decoded = pipe.vae.decode(clean).sample
    decoded = decoded[:, :, 0] if video else decoded
    assert latents.shape[1:] == model.latent_shape
    torch.testing.assert_close(
        model.decode(latents), (decoded / 2 + 0.5).clamp(0, 1), atol=1e-5, rtol=0
    )


def test_a_change_of_the_latents_after_each_step(pipe, start):
    """`change` receives the latents after a step and the next t, -1 at last, and replaces them."""
    model = wrap(pipe, ())
    sampling = Sampling(steps=3, guidance=2.0)
    prompts = ["a pig", "a cat"]
    seen = []

    def record(x, t):
        seen.append((x.clone(), t))
        return x

    def stop(x, t):
        return torch.zeros_like(x)

    plain = list(model.trajectory(prompts, (), sampling, latents=start))
    recorded = list(model.trajectory(prompts, (), sampling, latents=start, change=record))
    assert all(torch.equal(x, y) for (x, _), (y, _) in zip(plain, recorded))
    assert len(seen) == len(plain) - 1
    for (x, t), (point, time) in zip(seen, plain[1:]):
        assert torch.equal(x, point)
        assert torch.equal(t, time.to(t.dtype))
    first, *rest = model.trajectory(prompts, (), sampling, latents=start, change=stop)
    assert torch.equal(first[0], plain[0][0])
    assert not any(x.any() for x, _ in rest)


def test_conditions_from_token_embeddings(pipe):
    """The condition equals that of the prompts, and has gradients to every encoder's input."""
    model = wrap(pipe, ())
    prompts = ["a pig", "", "a cat in neon style"]
    if model.family not in (
        "stable-diffusion",
        "stable-diffusion-xl",
        "stable-diffusion-3",
        "flux",
    ):
        with pytest.raises(InputError, match="text encoder's input"):
            model.embed(prompts)
        with pytest.raises(InputError, match="text encoder's input"):
            model.encode_from({}, {})
        return
    vectors, ids = model.embed(prompts)
    assert set(vectors) == set(ids) == set(model.encoders)
    for name, tokens in ids.items():
        assert vectors[name].shape[:2] == tokens.shape
        assert len(tokens) == 3
    encoded, condition = model.encode(prompts), model.encode_from(vectors, ids)
    assert encoded.keys() == condition.keys()
    for name, tensor in encoded.items():
        assert torch.equal(condition[name], tensor)
    moved = {name: v.clone().requires_grad_() for name, v in vectors.items()}
    condition = model.encode_from(moved, ids)
    x = torch.randn(3, *model.latent_shape)
    model.predict(x, torch.full((3,), model.timesteps // 2), condition).square().sum().backward()
    for v in moved.values():
        assert v.grad[0].any()
        assert v.grad[2].any()
    assert not any(
        p.grad is not None for part in model.components.values() for p in part.parameters()
    )


def test_what_the_prompt_embedders_read_is_what_they_multiply(pipe):
    """In a running network the input of these matrices is `linear_input`: the prompt's alone."""
    model = wrap(pipe)
    if "prompt embedders" not in model.groups:
        pytest.skip("its keys and values read the prompt")
    inputs, handles = {}, []
    condition = model.encode(["a pig"])
    for site in model.weight_group("prompt embedders"):
        owner, _ = site.find(model.components)

        def record(module, args, output, site=site):
            inputs[site.name] = (site.reads, args[0])

        handles.append(owner.register_forward_hook(record))
    t = torch.tensor([model.timesteps // 2])
    model.predict(torch.randn(1, *model.latent_shape), t, condition)
    for handle in handles:
        handle.remove()
    assert inputs
    for reads, actual in inputs.values():
        # the first tokens: some networks leave out the padding
        expected = model.linear_input(reads, condition).flatten(0, -2)[:4]
        torch.testing.assert_close(actual.flatten(0, -2)[: len(expected)], expected)


def test_xl_empty_prompt_is_zeros_where_the_pipeline_says_so():
    c = wrap(tiny_xl(), ()).encode(["", "a pig"])
    assert not c["encoder_hidden_states"][0].any()
    assert not c["text_embeds"][0].any()
    assert c["text_embeds"][1].any()
    assert c["time_ids"].tolist() == [[16, 16, 0, 0, 16, 16]] * 2


def test_3_flow_matching():
    """By hand, at t = 250: a quarter is noise, and an error of v counts 0.75² for the noise."""
    model = wrap(tiny_3(), ())
    x, noise = torch.full((1, 4, 8, 8), 2.0), torch.full((1, 4, 8, 8), -6.0)
    t = torch.tensor([250.0])
    assert torch.equal(model.add_noise(x, noise, t), torch.zeros(1, 4, 8, 8))
    assert model.weight(t).tolist() == [0.5625]


@pytest.mark.parametrize(
    "make",
    [lambda: tiny_flux(dev=False), lambda: tiny_flux2(distilled=True, layers=28)],
    ids=["schnell", "klein"],
)
def test_distilled_ones_sample_what_their_pipelines_sample(make):
    """Without a guidance scale and ε(∅); schnell's schedule is not shifted."""
    pipe = make()
    pipe.set_progress_bar_config(disable=True)
    model = wrap(pipe, ())
    assert not model.uses_cfg
    assert "unconditional" in model.remark
    agree(pipe, noise(model))
    if model.family == "flux":
        assert model.steps == SCHNELL_STEPS == 4


def flow_model(pipe):
    model = wrap(pipe, ())
    if not isinstance(model, FlowModel):
        pytest.skip("its samplers do not begin and end at the same noise levels")
    return model


def test_second_sampler_ends_nearby(pipe, start):
    """Two solvers of one differential equation: with many steps they agree better than with few."""
    model = flow_model(pipe)

    def distance(steps: int) -> float:
        latents = []
        for sampler in model.samplers:
            sampling = Sampling(steps, guidance=1.0, sampler=sampler)
            *_, (end, _) = model.trajectory(["a pig"] * 2, (), sampling, latents=start)
            latents.append(end)
        return (latents[0] - latents[1]).square().mean().item()

    assert distance(24) < 0.5 * distance(3)


def test_inversion_and_sampling_back(pipe, start):
    """Clean latents are inverted and sampled without guidance: closer with more steps."""
    model, clean = flow_model(pipe), 0.5 * start
    prompts = ["a pig", "a cat"]

    def error(steps: int) -> float:
        noise = model.invert(clean, prompts, steps=steps, upto=steps)
        *_, (back, _) = model.trajectory(prompts, (), Sampling(steps, guidance=1.0), latents=noise)
        return (back - clean).square().mean().item()

    assert error(40) < 0.5 * error(10)


def test_3_without_t5_and_what_it_refuses(tmp_path):
    whole = tiny_3()
    pipe = type(whole)(**{**whole.components, "text_encoder_3": None, "tokenizer_3": None})
    model, base = wrap(pipe, ("cat", "dog")), state(pipe.transformer)
    assert set(model.components) == {"transformer", "text_encoder", "text_encoder_2"}
    quick = AllButOne(
        start="none",
        rounds=1,
        trajectories=4,
        points=2,
        sampling_steps=3,
        tune=Tune(steps=8, batch_size=4, check=4),
    )
    edit = quick(model, Concept(erase="pig", alternative="cow"))
    assert same(base, state(pipe.transformer))
    with pytest.raises(InputError, match="lora"):
        export(edit, "kohya", tmp_path / "kohya.safetensors")


def test_network_calls_are_counted_however_the_denoiser_is_called(pipe, start):
    model = wrap(pipe, ())
    with count_calls(model) as calls:
        model.predict(start, torch.full((2,), 500), model.encode(["a pig", "a cat"]))
    assert calls["n"] == 2


USUAL = {
    "stable-diffusion": 7.5,
    "stable-diffusion-xl": 5.0,
    "stable-diffusion-3": 7.0,
    "flux": 3.5,
    "flux-2-klein": 4.0,
    "qwen-image": 4.0,
    "z-image": 6.0,
    "sana": 4.5,
}


def test_the_default_guidance_is_the_pipelines_own(pipe, emoji):
    """diffusers' defaults; Z-Image's 5 is 6 here. The embedded models were evaluated at 5."""
    model = wrap(pipe)
    assert model.guidance == USUAL[model.family]
    assert Sampling(steps=3).resolve(model).guidance == model.guidance
    assert Sampling(steps=3, guidance=0.0).resolve(model).guidance == 0.0
    assert emoji.guidance == 5.0


def test_a_model_says_how_many_steps_it_needs(pipe, emoji):
    """25 for all but models that need fewer, such as emoji."""
    model = wrap(pipe)
    assert model.steps == DEFAULT_STEPS
    assert evaluation_sampling(Look(), seed=0).resolve(model).steps == model.steps
    assert evaluation_sampling(Look(steps=7), seed=0).resolve(model).steps == 7
    assert emoji.steps == Source("emoji").steps == Sampling().resolve(emoji).steps == 10
    assert Look().steps_for(Source("a/folder")) == 25
