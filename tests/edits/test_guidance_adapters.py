"""Negative prompt and SLD against diffusers' own: the same starting noise gives the same images."""

import pytest
import torch
from support.tiny_pipelines import tiny_pipeline

from unconcept import Concept, wrap
from unconcept.edits.guidance_adapters import SafeGuidance
from unconcept.methods.negative_prompt import NegativePrompt
from unconcept.methods.sld import SLD

PIG = Concept(erase="pig", synonyms=("hog",))
GIVEN = dict(guidance_scale=5.0, num_inference_steps=12, output_type="np")


@pytest.fixture
def start():
    return torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(3))


@pytest.fixture
def pipe():
    """Its prompts matter: with random weights alone their effect is lost in rounding."""
    pipe = tiny_pipeline()
    for name, parameter in pipe.unet.named_parameters():
        if "attn2.to_v" in name or "attn2.to_out.0.weight" in name:
            parameter.data *= 20
    return pipe


def drawn(pipe, start, **more):
    pipe.set_progress_bar_config(disable=True)
    return torch.from_numpy(pipe(["a pig", "a cat"], latents=start.clone(), **GIVEN, **more).images)


def test_negative_prompt_is_the_pipelines_own(pipe, start):
    plain, theirs = drawn(pipe, start), drawn(pipe, start, negative_prompt=["pig, hog"] * 2)
    with NegativePrompt()(wrap(pipe, ()), PIG).on(wrap(pipe, ())):
        ours = drawn(pipe, start)
    moved = (theirs - plain).abs().max()
    assert moved > 5e-3
    torch.testing.assert_close(ours, theirs, atol=1e-3 * moved.item(), rtol=0)


@pytest.mark.filterwarnings("ignore:The decode_latents method is deprecated:FutureWarning")
@pytest.mark.parametrize(
    "sld",
    [
        SLD(),
        SLD(warmup=0, scale=5000.0, threshold=1.0),
        SLD(warmup=3, scale=1000.0, threshold=0.01, momentum=0.3, beta=0.4),
    ],
)
def test_sld_is_the_safe_pipelines_own(sld, pipe, start):
    from diffusers.pipelines.deprecated.stable_diffusion_safe import StableDiffusionPipelineSafe

    without_checker = dict(
        safety_checker=None, feature_extractor=None, requires_safety_checker=False
    )
    safe = StableDiffusionPipelineSafe(
        vae=pipe.vae,
        text_encoder=pipe.text_encoder,
        tokenizer=pipe.tokenizer,
        unet=pipe.unet,
        scheduler=pipe.scheduler,
        **without_checker,
    )
    safe.safety_concept = "pig"
    plain = drawn(pipe, start)
    theirs = drawn(
        safe,
        start,
        sld_guidance_scale=sld.scale,
        sld_warmup_steps=sld.warmup,
        sld_threshold=sld.threshold,
        sld_momentum_scale=sld.momentum,
        sld_mom_beta=sld.beta,
    )
    model = wrap(pipe, ())
    edit = sld(model, PIG)
    with edit.on(model):
        ours, again = drawn(pipe, start), drawn(pipe, start)
    moved = (theirs - plain).abs().max()
    assert moved > 5e-3
    torch.testing.assert_close(ours, theirs, atol=1e-3 * moved.item(), rtol=0)
    assert torch.equal(ours, again), "a second trajectory begins with no momentum of the first"


def test_velocity_is_counted_in_noise():
    """The threshold is one of ε: where v is predicted, a difference counts √ᾱ."""
    model = wrap(tiny_pipeline("v_prediction"), ())
    (adapter,) = SLD()(model, PIG).adapters.values()
    assert isinstance(adapter, SafeGuidance)
    torch.testing.assert_close(adapter.noise, model.alphas.sqrt())


def test_the_unprompted_answer_is_left_alone():
    """SLD changes what a prompt adds, a negative prompt what stands without one."""
    model = wrap(tiny_pipeline(), ())
    x, t, c = torch.randn(2, 4, 8, 8), torch.tensor([500, 500]), model.encode(["", "a cat"])
    plain = model.predict(x, t, c)
    for method, moved in ((SLD(warmup=0), [False, True]), (NegativePrompt(), [True, False])):
        with method(model, PIG).on(model):
            assert [not torch.equal(a, b) for a, b in zip(plain, model.predict(x, t, c))] == moved
