"""What each family has of its own: conditions, ∅, guidance and sampler are those of its pipeline, and the files open in diffusers."""

import pytest
import torch
from conftest import same, state
from support.tiny_pipelines import TINY, tiny_3, tiny_flux, tiny_flux2, tiny_xl

from unconcept import AllButOne, Concept, Edit, InputError, Tune, load, wrap
from unconcept.config.options import Look
from unconcept.export.formats import export
from unconcept.methods.negative_prompt import NegativePrompt
from unconcept.models.flow_matching import FlowModel
from unconcept.models.interface import Sampling
from unconcept.models.patchify import packed
from unconcept.profiling.usage import count_calls


@pytest.fixture(scope="module", params=TINY)
def pipe(request):
    pipe = TINY[request.param]()
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="module")
def edit(pipe):
    """Any change of what reads the words."""
    model = wrap(pipe)
    torch.manual_seed(1)
    weights = {site.name: getattr(*site.find(model.components)) for site in model.weight_group("cross-attention keys and values")}
    deltas = {name: 0.5 * w.std() * torch.randn_like(w) for name, w in weights.items()}
    return Edit(deltas, {"model_sha256": model.fingerprint(), "family": model.family})


SIZE = dict(height=16, width=16)
TOLD = {  # how a pipeline is told guidance 5, and the size of a tiny picture
    "qwen-image": dict(true_cfg_scale=5.0, negative_prompt=["", ""]),
    "z-image": dict(guidance_scale=4.0, **SIZE),
    "sana": dict(guidance_scale=5.0, use_resolution_binning=False, height=32, width=32),
}


def drawn(pipe, start, steps=6, **more):
    """What the pipeline itself makes of latents [2, C, H, W]: pictures [2, 3, 16, 16]."""
    family = wrap(pipe, ()).family
    latents = packed(start) if family in ("flux", "qwen-image") else start.clone()
    told = {"prompt": ["a pig", "a cat"], **TOLD.get(family, dict(guidance_scale=5.0)), **more}
    made = pipe(latents=latents, num_inference_steps=steps, output_type="np", **told).images
    return torch.from_numpy(made).movedim(-1, 1)


@pytest.fixture
def start(pipe):
    return noise(wrap(pipe, ()))


def noise(model):
    """The same noise twice."""
    return torch.randn(1, *model.latent_shape, generator=torch.Generator().manual_seed(3)).repeat(2, 1, 1, 1)


def test_it_samples_what_the_pipeline_samples(pipe, start):
    """Conditions, ∅, guidance, sign and time are the pipeline's own."""
    agree(pipe, start)


def agree(pipe, start):
    """With the same sampler, our trajectory ends where diffusers' loop does, and the prompt matters there."""
    model, own = wrap(pipe, ()), pipe.scheduler
    pipe.scheduler = model.make_scheduler(model.samplers[0], 6)
    theirs = drawn(pipe, start)
    pipe.scheduler = own
    *_, (ours, _) = model.trajectory(["a pig", "a cat"], [0, 0], Sampling(steps=6, guidance=5.0), latents=start.clone())
    torch.testing.assert_close(model.decode(ours), theirs, atol=1e-3, rtol=1e-3)
    assert (theirs[0] - theirs[1]).abs().max() > 0.01


def test_no_pipeline_is_called(pipe, start, monkeypatch):
    """The first argument of some is the prompt, of Flux.2's a picture: we ask their parts."""
    model = wrap(pipe, ("cat", "dog"))
    monkeypatch.setattr(type(pipe), "__call__", None)
    quick = AllButOne(start="none", rounds=1, trajectories=4, points=1, sampling_steps=2, rho=0.0, tune=Tune(steps=1, batch_size=2, check=1))
    with quick(model, Concept(erase="pig", alternative="cow", templates=("{}",))).on(model):
        assert model.decode(model.sample(["a pig"], [0], Sampling(steps=2))).shape[1] == 3


def test_negative_prompt_is_the_pipelines_own(pipe, start):
    """Pooled state and all."""
    model = wrap(pipe, ())
    if model.family in ("flux", "z-image"):
        pytest.skip("the method refuses it: tests/contracts/test_every_method.py")
    negative: dict = {"negative_prompt": ["pig"] * 2}
    said, asked = model.encode(["pig"] * 2), model.encode(["a pig", "a cat"])
    if model.family == "flux-2-klein":  # takes no words there
        negative = {"negative_prompt_embeds": said[model.prompt_states_key]}
    if model.family == "sana":  # reads them without its instruction; we read every prompt behind it
        named = {"prompt_embeds": model.prompt_states_key, "prompt_attention_mask": "encoder_attention_mask"}
        negative = {
            "prompt": None,
            "negative_prompt": None,
            **{f"negative_{n}": said[key] for n, key in named.items()},
            **{n: asked[key] for n, key in named.items()},
        }
    theirs = drawn(pipe, start, **negative)
    with NegativePrompt()(model, Concept(erase="pig")).on(model):
        ours = drawn(pipe, start)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)


def test_files_that_diffusers_opens(pipe, edit, start, tmp_path):
    """A folder, copied with the changed weights; and a LoRA: the same pictures as with the edit on, and at scale 0 the base's."""
    pipe.save_pretrained(tmp_path / "base")
    plain = drawn(pipe, start)
    with edit.on(wrap(pipe, ())):
        erased = drawn(pipe, start)
    moved = (erased - plain).abs().max().item()
    assert moved > 0
    export(edit, "pipeline", tmp_path / "erased", model=str(tmp_path / "base"))
    opened = type(pipe).from_pretrained(tmp_path / "erased", use_safetensors=True)
    opened.set_progress_bar_config(disable=True)
    opened.default_sample_size = 8  # Flux keeps it in no file
    torch.testing.assert_close(drawn(opened, start), erased, atol=0.01 * moved, rtol=0)
    assert load(tmp_path / "erased").family == wrap(pipe).family
    export(edit, "lora", tmp_path / "lora.safetensors")
    fresh = type(pipe).from_pretrained(tmp_path / "base", use_safetensors=True)
    fresh.set_progress_bar_config(disable=True)
    fresh.default_sample_size = 8
    fresh.load_lora_weights(tmp_path, weight_name="lora.safetensors", adapter_name="gone")
    torch.testing.assert_close(drawn(fresh, start), erased, atol=0.05 * moved, rtol=0)
    fresh.set_adapters("gone", 0.0)
    assert torch.equal(drawn(fresh, start), plain)


def test_pictures_and_latents(pipe):
    """Centre and scale of the autoencoder's latents are taken off and put back."""
    model = wrap(pipe, ())
    pictures = torch.rand(2, 3, model.image_size, model.image_size)
    latents = model.latents(pictures)
    config, video = pipe.vae.config, model.family == "qwen-image"
    encoded = pipe.vae.encode((pictures * 2 - 1).unsqueeze(2) if video else pictures * 2 - 1)
    clean = encoded.latent if hasattr(encoded, "latent") else encoded.latent_dist.mode()
    if "scaling_factor" in config:
        torch.testing.assert_close(latents, (clean - (config.get("shift_factor") or 0)) * config["scaling_factor"])
    decoded = pipe.vae.decode(clean).sample
    decoded = decoded[:, :, 0] if video else decoded
    assert latents.shape[1:] == model.latent_shape
    torch.testing.assert_close(model.decode(latents), (decoded / 2 + 0.5).clamp(0, 1), atol=1e-5, rtol=0)


def test_a_change_of_the_latents_after_each_step(pipe, start):
    """`change` is given what a step made and the next point's t, -1 at last; what it returns goes on."""
    model = wrap(pipe, ())
    walk = Sampling(steps=3, guidance=2.0)
    prompts = ["a pig", "a cat"]
    seen = []

    def record(x, t):
        seen.append((x.clone(), t))
        return x

    def stop(x, t):
        return torch.zeros_like(x)

    plain = list(model.trajectory(prompts, (), walk, latents=start))
    recorded = list(model.trajectory(prompts, (), walk, latents=start, change=record))
    assert all(torch.equal(x, y) for (x, _), (y, _) in zip(plain, recorded))
    assert len(seen) == len(plain) - 1
    for (x, t), (point, time) in zip(seen, plain[1:]):
        assert torch.equal(x, point)
        assert torch.equal(t, time.to(t.dtype))
    first, *rest = model.trajectory(prompts, (), walk, latents=start, change=stop)
    assert torch.equal(first[0], plain[0][0])
    assert not any(x.any() for x, _ in rest)


def test_conditions_from_token_embeddings(pipe):
    """The same condition as from prompts, with gradients to every encoder's input, the pooled ones included; or a plain refusal."""
    model = wrap(pipe, ())
    prompts = ["a pig", "", "a cat in neon style"]
    if model.family not in ("stable-diffusion", "stable-diffusion-xl", "stable-diffusion-3", "flux"):
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
    assert not any(p.grad is not None for part in model.components.values() for p in part.parameters())


def test_what_the_prompt_embedders_read_is_what_they_multiply(pipe):
    """In a running network a matrix of this group is given what `reading` says: what the prompt gave, and nothing of the picture."""
    model = wrap(pipe)
    if "prompt embedders" not in model.groups:
        pytest.skip("its keys and values read the prompt")
    seen, one = {}, model.encode(["a pig"])
    handles = []
    for site in model.weight_group("prompt embedders"):
        owner, _ = site.find(model.components)
        handles.append(owner.register_forward_hook(lambda _, given, __, site=site: seen.update({site.name: (site.reads, given[0])})))
    model.predict(torch.randn(1, *model.latent_shape), torch.tensor([model.timesteps // 2]), one)
    for handle in handles:
        handle.remove()
    assert seen
    for reads, given in seen.values():
        told = model.linear_input(reads, one).flatten(0, -2)[:4]  # the first tokens: some leave out what is padded
        torch.testing.assert_close(given.flatten(0, -2)[: len(told)], told)


def test_xl_empty_prompt_is_zeros_where_the_pipeline_says_so():
    c = wrap(tiny_xl(), ()).encode(["", "a pig"])
    assert not c["encoder_hidden_states"][0].any()
    assert not c["text_embeds"][0].any()
    assert c["text_embeds"][1].any()
    assert c["time_ids"].tolist() == [[16, 16, 0, 0, 16, 16]] * 2


def test_3_straight_way():
    """By hand: at t = 250 a quarter is noise, v is noise minus picture, and an error of v is three quarters of one of the noise."""
    model, x, noise = wrap(tiny_3(), ()), torch.full((1, 4, 8, 8), 2.0), torch.full((1, 4, 8, 8), -6.0)
    t = torch.tensor([250.0])
    assert torch.equal(model.add_noise(x, noise, t), torch.zeros(1, 4, 8, 8))
    assert model.weight(t).tolist() == [0.5625]


@pytest.mark.parametrize("make", [lambda: tiny_flux(dev=False), lambda: tiny_flux2(distilled=True)], ids=["schnell", "klein"])
def test_distilled_ones_sample_what_their_pipelines_sample(make):
    """Told no guidance; schnell on a schedule that is not shifted, and without asking for ε(∅)."""
    pipe = make()
    pipe.set_progress_bar_config(disable=True)
    model = wrap(pipe, ())
    assert not model.uses_cfg
    assert "unconditional" in model.remark
    agree(pipe, noise(model))


def flowing(pipe):
    model = wrap(pipe, ())
    if not isinstance(model, FlowModel):
        pytest.skip("its samplers do not begin and end at the same noise levels")
    return model


def test_second_sampler_ends_nearby(pipe, start):
    """Two solvers of one differential equation: with many steps they agree better than with few."""
    model = flowing(pipe)
    ends = lambda steps: [
        list(model.trajectory(["a pig"] * 2, [0, 0], Sampling(steps, guidance=1.0, sampler=s), latents=start))[-1][0]
        for s in model.samplers
    ]
    few, many = ((a - b).square().mean() for a, b in (ends(3), ends(24)))
    assert many < 0.5 * few


def test_way_to_noise_and_back(pipe, start):
    """Inversion of clean latents, and the same steps forward without guidance: nearer to them the more steps there are."""
    model, clean = flowing(pipe), 0.5 * start

    def lost(steps: int) -> float:
        noise = model.invert(clean, ["a pig"] * 2, steps=steps, upto=steps)
        *_, (back, _) = model.trajectory(["a pig"] * 2, (), Sampling(steps, guidance=1.0), latents=noise)
        return (back - clean).square().mean().item()

    assert lost(40) < 0.5 * lost(10)


def test_3_without_t5_and_what_it_refuses(tmp_path):
    whole = tiny_3()
    pipe = type(whole)(**{**whole.components, "text_encoder_3": None, "tokenizer_3": None})
    model, base = wrap(pipe, ("cat", "dog")), state(pipe.transformer)
    assert set(model.components) == {"transformer", "text_encoder", "text_encoder_2"}
    edit = AllButOne(start="none", rounds=1, trajectories=4, points=2, sampling_steps=3)(model, Concept(erase="pig", alternative="cow"))
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


def test_what_is_not_said_is_the_pipelines_own_guidance(pipe):
    """diffusers' defaults; Z-Image's 5 is 6 here. The embedded models were measured at 5."""
    model = wrap(pipe)
    assert model.guidance == USUAL[model.family]
    assert Look(steps=3).sampling(model.guidance) == {"steps": 3, "guidance": model.guidance}
    assert Look(steps=3, guidance=0.0).sampling(model.guidance) == {"steps": 3, "guidance": 0.0}
    assert load("emoji").guidance == 5.0
