"""What is different in Stable Diffusion XL: two encoders, a pooled state, sizes, and what the empty prompt is."""

import pytest
import torch
from conftest import tiny_xl

from unconcept import AllButOne, Concept, load, wrap
from unconcept.export import export
from unconcept.methods import NegativePrompt


@pytest.fixture(scope="module")
def pipe():
    pipe = tiny_xl()
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="module")
def edit(pipe):
    tuned = AllButOne(trajectories=4, points=2, sampling_steps=4)
    return tuned(wrap(pipe, ("cat", "dog")), Concept(erase="pig", alternative="cow"))


def drawn(pipe, start, **more):
    return torch.from_numpy(
        pipe(["a pig", "a cat"], latents=start.clone(), guidance_scale=5.0, num_inference_steps=6, output_type="np", **more).images
    )


@pytest.fixture(scope="module")
def start():
    return torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(3))


def test_it_samples_what_the_pipeline_samples(pipe, start):
    """With the same sampler, our trajectory ends where diffusers' loop does: conditions, ∅ and guidance are the pipeline's own."""
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler

    model, euler = wrap(pipe, ()), pipe.scheduler
    pipe.scheduler = DDIMScheduler.from_config(euler.config)
    theirs = pipe(["a pig", "a cat"], latents=start.clone(), guidance_scale=5.0, num_inference_steps=6, output_type="latent").images
    pipe.scheduler = euler
    *_, (ours, _) = model.trajectory(["a pig", "a cat"], [0, 0], steps=6, guidance=5.0, latents=start.clone())
    torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-3)


def test_the_empty_prompt_is_zeros_where_the_pipeline_says_so(pipe):
    model = wrap(pipe, ())
    c = model.encode(["", "a pig"])
    assert not c["encoder_hidden_states"][0].any()
    assert not c["text_embeds"][0].any()
    assert c["text_embeds"][1].any()
    assert c["time_ids"].tolist() == [[16, 16, 0, 0, 16, 16]] * 2


def test_negative_prompt_is_the_pipelines_own(pipe, start):
    """Pooled state and all."""
    theirs = drawn(pipe, start, negative_prompt=["pig"] * 2)
    with NegativePrompt()(wrap(pipe, ()), Concept(erase="pig")).on(wrap(pipe, ())):
        ours = drawn(pipe, start)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)


def test_files_that_diffusers_opens(pipe, edit, start, tmp_path):
    """A folder, copied with the changed weights; and a LoRA: the same pictures as with the edit on."""
    from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import StableDiffusionXLPipeline

    pipe.save_pretrained(tmp_path / "base")
    plain = drawn(pipe, start)
    with edit.on(wrap(pipe, ())):
        erased = drawn(pipe, start)
    moved = (erased - plain).abs().max().item()
    assert moved > 0
    export(edit, "pipeline", tmp_path / "erased", model=str(tmp_path / "base"))
    opened = StableDiffusionXLPipeline.from_pretrained(tmp_path / "erased", use_safetensors=True)
    opened.set_progress_bar_config(disable=True)
    torch.testing.assert_close(drawn(opened, start), erased, atol=0.01 * moved, rtol=0)
    assert load(tmp_path / "erased").family == "stable-diffusion-xl"
    export(edit, "lora", tmp_path / "lora.safetensors")
    fresh = StableDiffusionXLPipeline.from_pretrained(tmp_path / "base", use_safetensors=True)
    fresh.set_progress_bar_config(disable=True)
    fresh.load_lora_weights(tmp_path, weight_name="lora.safetensors")
    torch.testing.assert_close(drawn(fresh, start), erased, atol=0.05 * moved, rtol=0)
