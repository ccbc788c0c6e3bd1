"""Every text-to-video family agrees with its pipeline, and every method runs on it or says no."""

from dataclasses import replace

import pytest
import torch
from conftest import same, state
from safetensors import safe_open
from support.tiny_pipelines import tiny_pipeline
from support.tiny_videos import MAKERS, SIZES, set_tiny, tiny_video

from unconcept import AllButOne, Concept, Edit, InputError, Tune, wrap
from unconcept.export.formats import export
from unconcept.methods.concept_ablation import ConceptAblation
from unconcept.methods.esd import ESD
from unconcept.methods.negative_prompt import NegativePrompt
from unconcept.methods.receler import Receler
from unconcept.methods.sdd import SDD
from unconcept.methods.sld import SLD
from unconcept.methods.speed import SPEED
from unconcept.methods.spm import SPM
from unconcept.methods.t2v_unlearning import T2VUnlearning
from unconcept.methods.uce import RECE, UCE
from unconcept.models.cross_attention import is_temporal
from unconcept.models.interface import Sampling
from unconcept.models.llm_text_encoder import Chat

PROMPTS = ["a pig", "a cat"]


@pytest.fixture(scope="module", params=MAKERS)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def pipe(name):
    return tiny_video(name)


@pytest.fixture
def model(pipe):
    return wrap(pipe, ("cat", "dog"))


@pytest.fixture
def start(model):
    """The same noise twice."""
    generator = torch.Generator().manual_seed(3)
    return torch.randn(1, *model.latent_shape, generator=generator).repeat(2, 1, 1, 1, 1)


def pipeline_clips(pipe, name, start, **more):
    """Clips [2, frames, 3, height, width] that the pipeline itself samples."""
    frames, height, width = SIZES[name]
    arguments = dict(num_frames=frames, height=height, width=width, guidance_scale=5.0)
    if hasattr(wrap(pipe, ()), "text_tokens"):
        arguments["max_sequence_length"] = 20
    if name == "hunyuan-video-1.5":  # its guider has the scale
        arguments.pop("guidance_scale")
    arguments = {**arguments, **more}
    latents = start.flatten(2).transpose(1, 2) if name == "ltx" else start  # tokens there
    if name == "hunyuan-video-1.5":  # its autoencoder in diffusers decodes no batches
        return torch.cat([one_clip(pipe, i, latents, arguments) for i in range(len(PROMPTS))])
    return pipe(
        PROMPTS, latents=latents.clone(), num_inference_steps=4, output_type="pt", **arguments
    ).frames


def one_clip(pipe, i, latents, arguments):
    """The clip of one of the prompts alone."""
    row = {key: value[i] if isinstance(value, list) else value for key, value in arguments.items()}
    return pipe(
        PROMPTS[i], latents=latents[i : i + 1], num_inference_steps=4, output_type="pt", **row
    ).frames


def our_clips(model, start):
    sampling = Sampling(steps=4, guidance=5.0)
    *_, (end, _) = model.trajectory(PROMPTS, (), sampling, latents=start.clone())
    return model.decode(end)


@pytest.fixture
def with_our_scheduler(pipe, model, monkeypatch):
    monkeypatch.setattr(pipe, "scheduler", model.make_scheduler(model.samplers[0], 4))


@pytest.mark.usefixtures("with_our_scheduler")
def test_it_samples_what_the_pipeline_samples(pipe, model, name, start):
    ours = our_clips(model, start)
    assert ours.shape == (2, model.frames, 3, *model.image_shape)
    theirs = pipeline_clips(pipe, name, start)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)
    assert (theirs[0] - theirs[1]).abs().max() > 0.01, "the prompt matters"


@pytest.mark.usefixtures("with_our_scheduler")
def test_negative_prompt_is_the_pipelines_own(pipe, model, name, start):
    if not model.uses_cfg:
        pytest.skip("it is refused: test_every_method_runs_or_says_why_not")
    theirs = pipeline_clips(pipe, name, start, negative_prompt=["pig"] * 2)
    with NegativePrompt()(model, Concept(erase="pig")).on(model):
        ours = pipeline_clips(pipe, name, start)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)


def test_clips_and_latents(model):
    clips = torch.rand(2, model.frames, 3, *model.image_shape)
    latents = model.latents(clips)
    assert latents.shape == (2, *model.latent_shape)
    assert model.decode(latents).shape == clips.shape
    if hasattr(model, "to_vae"):  # scaling and axes are undone
        there = model.to_vae(latents)
        torch.testing.assert_close(model.from_vae(there), latents)


def test_noise_where_the_batch_is_as_large_as_the_channels(model):
    """A factor of every row never runs along the channels or the frames."""
    n = model.denoiser.config["in_channels"]
    zeros, ones = torch.zeros(n, *model.latent_shape), torch.ones(n, *model.latent_shape)
    t = torch.linspace(1, model.timesteps - 1, n).long()
    rows = model.add_noise(zeros, ones, t).flatten(1)
    torch.testing.assert_close(rows, rows[:, :1].expand_as(rows))
    assert (rows[:, 0].diff() > 0).all()


def test_time_is_not_among_what_reads_the_prompt(model):
    """Attention along time is in no group but its own, and every group has a matrix."""
    groups = [group for group in model.groups if group not in ("motion", "all")]
    for group in groups:
        assert not any(is_temporal(site.name) for site in model.weight_group(group))
    assert not any(is_temporal(site) for site in model.cross_attentions())


def test_attention_maps_are_shares_of_places(model, start):
    """Over all tokens a cross-attention's shares add up to 1, a joint attention's to less."""
    t = torch.tensor([300, 900])
    condition = model.encode(PROMPTS)
    tokens = range(condition[model.prompt_states_key].shape[1])
    maps = model.attention(start, t, condition, list(tokens))
    assert maps.keys() == model.cross_attentions().keys()
    for share in maps.values():
        height, width = model.image_shape
        assert share.shape[:2] == (2, model.token_frames(start))
        assert share.shape[2] * width == share.shape[3] * height
        if model.family in ("cogvideox", "hunyuan-video", "hunyuan-video-1.5"):
            assert ((share > 0) & (share < 1)).all()
        else:
            torch.testing.assert_close(share, torch.ones_like(share))


def test_second_sampler_ends_nearby(model, start):
    """Two solvers of one differential equation end in the same place, but for a few percent."""
    if model.family.startswith("animatediff"):
        pytest.skip("its samplers are Stable Diffusion's")
    ends = []
    for sampler in model.samplers:
        sampling = Sampling(12, guidance=1.0, sampler=sampler)
        *_, (end, _) = model.trajectory(PROMPTS[:1], (), sampling, latents=start[:1])
        ends.append(end)
    assert (ends[0] - ends[1]).square().mean() < 0.05 * ends[0].square().mean()


def test_inversion_and_sampling_back(model, start):
    """Clean latents are inverted and sampled without guidance: closer with more steps."""
    if model.family.startswith("animatediff"):
        pytest.skip("its samplers are Stable Diffusion's")

    def error(steps):
        noise = model.invert(0.5 * start, PROMPTS, steps=steps, upto=steps)
        *_, (end, _) = model.trajectory(PROMPTS, (), Sampling(steps, guidance=1.0), latents=noise)
        return (end - 0.5 * start).square().mean()

    assert error(12) < 0.7 * error(3)


TUNE = Tune(steps=4, batch_size=2, check=2, lr=1e-3, seed=1)
QUICK = dict(trajectories=4, points=2, sampling_steps=3)
WALK = dict(steps=2, lr=1e-3, sampling_steps=2)
METHODS = {
    "all-but-one": AllButOne(),
    "all-but-one, trained": AllButOne(**QUICK, tune=TUNE, rho=0.1, start="none", rounds=1),
    "concept-ablation": ConceptAblation(**WALK, images=2),
    "esd": ESD(**WALK),
    "negative-prompt": NegativePrompt(),
    "rece": RECE(),
    "receler": Receler(**WALK, attacks=1, rank=4, tokens=2),
    "sdd": SDD(**WALK, average=0.5),
    "sld": SLD(warmup=0),
    "speed": SPEED(),
    "spm": SPM(**WALK),
    "t2v-unlearning": T2VUnlearning(steps=2, rank=4, trajectories=1, points=2, sampling_steps=2),
    "uce": UCE(),
}
REFUSALS = {
    ("wan, two experts", "sld"): "two denoisers",
    ("hunyuan-video", "negative-prompt"): "guidance-distilled",
    ("hunyuan-video", "sld"): "guidance-distilled",
}
# Variants of a family run a few methods, and AnimateDiff those that see more than an image model.
FEW = ("all-but-one", "negative-prompt", "esd")
METHODS_OF_VIDEO = (*FEW, "receler", "sld", "t2v-unlearning", "uce")
RUN = {
    "animatediff": METHODS_OF_VIDEO,
    "animatediff-xl": FEW,
    "wan, a timestep per token": FEW,
    "cogvideox, two latent frames a patch": FEW,
    "hunyuan-video-1.5": (*METHODS_OF_VIDEO, "all-but-one, trained", "rece", "speed", "spm"),
}


@pytest.mark.parametrize("method", METHODS)
def test_every_method_runs_or_says_why_not(model, name, method):
    if method not in RUN.get(name, METHODS):
        pytest.skip("run on another pipeline")
    concept = Concept(erase="pig", alternative="cow", templates=("a {}",))
    if (name, method) in REFUSALS:
        with pytest.raises(InputError, match=REFUSALS[name, method]):
            METHODS[method](model, concept)
        return
    before = {part: state(module) for part, module in model.components.items()}
    run = METHODS[method]
    if name in ("cogvideox", "hunyuan-video-1.5") and isinstance(run, AllButOne):
        run = replace(run, tune=replace(run.tune, group="context embedder"))
    edit = run(model, concept)
    for part, module in model.components.items():
        assert same(before[part], state(module)), "erasing leaves the pipeline as it was"
    assert not any(is_temporal(key) for key in edit.deltas)
    networks = {key.partition(".")[0] for key in (*edit.deltas, *edit.adapters)}
    assert networks == set(model.denoiser_names), "both experts are edited"

    n = 2
    x, t = torch.randn(n, *model.latent_shape), torch.tensor([900, 300])
    condition = model.encode(["a pig", "a cat"])
    plain = model.predict(x, t, condition)
    with edit.on(model):
        inside = model.predict(x, t, condition)
    changed = (inside - plain).flatten(1).abs().amax(1)
    if run == NegativePrompt():  # it changes the rows of the empty prompt alone
        with edit.on(model):
            null = model.predict(x, t, model.encode(["", ""]))
        assert not torch.equal(null, model.predict(x, t, model.encode(["", ""])))
    else:
        assert changed[0] > 0
    assert torch.equal(model.predict(x, t, condition), plain), "removing is exact"
    history = edit.card.get("training", {}).get("held_out_loss")
    if history:
        trace = dict(history)
        assert min(trace.values()) < trace[0], "the held-out loss falls"


def test_token_embeddings_are_encoded_as_prompts_are(model):
    if isinstance(model, Chat):
        with pytest.raises(InputError, match="does not give access"):
            model.embed(PROMPTS)
        return
    vectors, ids = model.embed(PROMPTS)
    torch.testing.assert_close(dict(model.encode_from(vectors, ids)), dict(model.encode(PROMPTS)))


def test_an_edit_file_brings_the_edit_back(model, tmp_path):
    edit = UCE()(model, Concept(erase="pig", alternative="cow"))
    loaded = Edit.load(edit.save(tmp_path / "edit.safetensors"))
    assert same(edit.tensors(), loaded.tensors())


def test_a_saved_pipeline_is_the_same_family(pipe, model, name, tmp_path):
    pipe.save_pretrained(tmp_path)
    opened = type(pipe).from_pretrained(tmp_path, use_safetensors=True)
    again = wrap(opened, ())
    set_tiny(again, name)
    assert again.family == model.family
    assert again.fingerprint() == model.fingerprint()
    assert again.latent_shape == model.latent_shape


def test_sizes_that_a_model_cannot_make_are_refused(model):
    with pytest.raises(InputError, match="multiple of"):
        model.set_clip_size(height=17)
    with pytest.raises(InputError, match="at least 1"):
        model.set_clip_size(frames=0)
    if model.frame_step > 1:
        with pytest.raises(InputError, match="n \\+ 1 frames, such as"):
            model.set_clip_size(frames=8)


def test_exported_loras_are_read_by_diffusers(pipe, model, name, tmp_path):
    """One file, or one for each expert, and every matrix of the edit comes back."""
    edit = UCE()(model, Concept(erase="pig", alternative="cow"))
    written = export(edit, "lora", tmp_path / "lora.safetensors")
    files = sorted(path.name for path in tmp_path.iterdir())
    if len(model.denoiser_names) > 1:
        assert files == ["lora-high_noise.safetensors", "lora-low_noise.safetensors"]
        assert written.name == files[0]
    else:
        assert files == ["lora.safetensors"]
    fresh = tiny_video(name)
    if model.family == "hunyuan-video-1.5":  # diffusers reads LoRAs through its network alone
        fresh.load_lora_weights = read_by_the_transformer(fresh.transformer)
    for network, file in zip(model.denoiser_names, files):
        second = {"load_into_transformer_2": True} if network == "transformer_2" else {}
        fresh.load_lora_weights(tmp_path, weight_name=file, adapter_name="gone", **second)
    read = 0
    for key, delta in edit.deltas.items():
        network, _, path = key.removesuffix(".weight").partition(".")
        layer = getattr(fresh, network).get_submodule(path)
        change = layer.get_delta_weight("gone")
        assert (change - delta).norm() <= 2e-3 * delta.norm()
        read += 1
    assert read == len(edit.deltas)
    if model.family == "ltx":
        assert all(
            key.startswith("diffusion_model.transformer_blocks.") for key in keys_of(written)
        )
    if model.family == "wan":
        assert all(key.startswith("diffusion_model.blocks.") for key in keys_of(written))
        assert any(".cross_attn.k.lora_A" in key for key in keys_of(written))
        with pytest.raises(InputError, match="ComfyUI reads"):
            export(edit, "kohya", tmp_path / "kohya.safetensors")


def read_by_the_transformer(transformer):
    def load(folder, weight_name, adapter_name):
        transformer.load_lora_adapter(
            folder, weight_name=weight_name, adapter_name=adapter_name, use_safetensors=True
        )

    return load


def keys_of(file):
    with safe_open(file, "pt") as opened:
        return list(opened.keys())


def test_an_edit_of_the_image_model_fits_animatediff():
    """The weights that read the prompt are the same, under the same names."""
    video = wrap(tiny_video("animatediff"), ("cat", "dog"))
    image = wrap(tiny_pipeline(), ("cat", "dog"))
    edit = UCE()(image, Concept(erase="pig", alternative="cow"))
    own = UCE()(video, Concept(erase="pig", alternative="cow"))
    assert edit.deltas.keys() == own.deltas.keys()
    for key, delta in edit.deltas.items():
        torch.testing.assert_close(own.deltas[key], delta)
