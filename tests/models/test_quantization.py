"""Frozen weights in 4 or 8 bits, and Adam's moments in 8: the edit is one of the original model."""

import copy
import sys
from dataclasses import replace
from functools import partial

import bitsandbytes.functional
import pytest
import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from support.contexts import with_full_contexts
from support.interruption import Stop, equal, stops
from support.tiny_pipelines import TINY, tiny_flux2, tiny_parts, tiny_qwen_image, tiny_text
from transformers.models.clip.modeling_clip import CLIPTextModel

from unconcept import AllButOne, Concept, InputError, Tune, load, wrap
from unconcept.methods import all_but_one
from unconcept.methods.uce import UCE
from unconcept.models.quantization import quantizable_layers, quantize
from unconcept.profiling.memory_estimate import estimate_memory
from unconcept.training.resume import checkpointed
from unconcept.training.trainable_delta import TrainableDelta
from unconcept.workflows.erasure import erase

GROUP = "cross-attention keys and values"
FEW = AllButOne(
    start="none",
    rounds=1,
    trajectories=4,
    points=1,
    sampling_steps=2,
    tune=Tune(steps=3, batch_size=2, check=1),
)
PIG = Concept(erase="pig", alternative="cow")


@pytest.fixture(scope="module")
def emoji():
    """The embedded model, of which few retained prompts are read."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(all_but_one, "MAX_RETAINED_PROMPTS", 100)
        yield load("emoji", device="cpu")


def wide_pipeline():
    """A tiny pipeline whose conditions are wide: bitsandbytes holds moments of 4096 numbers and
    more in 8 bits, and those of smaller tensors as they are.
    """
    parts = tiny_parts(width=512)
    parts["text_encoder"] = CLIPTextModel(tiny_text(parts["tokenizer"], 512))
    return StableDiffusionPipeline(
        **parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False
    )


@pytest.fixture(params=["nf4", "int8"])
def kind(request):
    return request.param


def bytes_of(model) -> int:
    return sum(tensor.nbytes for tensor in model.denoiser.state_dict().values())


def relative_error(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).norm() / b.norm())


@torch.no_grad()
def test_it_predicts_nearly_the_same_from_less_memory(emoji, kind):
    model = load("emoji", device="cpu", quantize=kind, keep_precise=GROUP)
    x = torch.randn(2, *emoji.latent_shape, generator=torch.Generator().manual_seed(0))
    predictions = []
    for each in (model, emoji):
        condition = each.encode(["a pig", "a cow"])
        predictions.append(each.predict(x, torch.tensor([200, 800]), condition))
    assert 0 < relative_error(*predictions) < {"nf4": 0.1, "int8": 0.02}[kind]
    layers = [layer.weight for _, layer in quantizable_layers(emoji, GROUP)]
    assert bytes_of(emoji) - bytes_of(model) == pytest.approx(
        sum(w.nbytes for w in layers) * {"nf4": 7 / 8, "int8": 3 / 4}[kind], rel=0.03
    )
    assert not list(quantizable_layers(model, GROUP))


def test_the_weight_group_and_the_fingerprint_do_not_change(emoji, kind):
    model = load("emoji", device="cpu", quantize=kind, keep_precise=GROUP)
    for site in emoji.weight_group(GROUP):
        assert torch.equal(
            getattr(*site.find(model.components)), getattr(*site.find(emoji.components))
        )
    assert model.fingerprint() == emoji.fingerprint()
    assert model.image_cache_key() != emoji.image_cache_key()  # but its images differ


def test_the_estimate_is_the_memory_that_is_used(emoji, kind):
    model = load("emoji", device="cpu", quantize=kind, keep_precise=GROUP)
    shapes = load("emoji", device="meta")
    held = {
        t.data_ptr(): t.nbytes for t in (*model.denoiser.parameters(), *model.denoiser.buffers())
    }
    for module in model.denoiser.modules():
        for scales in (
            getattr(getattr(module, "weight", None), "quant_state", None),
            getattr(getattr(module, "weight", None), "SCB", None),
        ):
            scales = getattr(scales, "absmax", scales)
            held |= {} if scales is None else {scales.data_ptr(): scales.nbytes}
    assert estimate_memory(shapes, FEW, quantize=kind).weights == pytest.approx(
        sum(held.values()) + model.vae_bytes, rel=0.02
    )


@pytest.mark.parametrize("family", TINY)
def test_gradients_go_through_the_quantized_weights(family, kind, monkeypatch):
    """With NF4 those of a model with the rounded weights; int8 rounds inputs, too, and is close.

    All tokens are read, by encoders of full depth: rounding errors of the inputs average out.
    """
    with_full_contexts(monkeypatch)
    whole_size = {
        "flux-2-klein": partial(tiny_flux2, layers=28),
        "qwen-image": partial(tiny_qwen_image, words=()),
    }
    pipe = whole_size.get(family, TINY[family])()
    whole, model = wrap(pipe, ()), wrap(copy.deepcopy(pipe), ())
    quantize(model, kind, GROUP, torch.device("cpu"))
    assert list(quantizable_layers(whole, GROUP))
    assert not list(quantizable_layers(model, GROUP))
    for path, layer in quantizable_layers(whole, GROUP) if kind == "nf4" else ():
        held = model.denoiser.get_submodule(path).weight
        layer.weight.data = bitsandbytes.functional.dequantize_4bit(held.data, held.quant_state)
    x = torch.randn(1, *whole.latent_shape, generator=torch.Generator().manual_seed(1))
    t = torch.tensor([500])
    gradients = []
    for each in (whole, model):
        change, condition = TrainableDelta(each, GROUP), each.encode(["a pig"])
        with change.on():
            each.predict(x, t, condition).square().mean().backward()
        gradients.append(torch.cat([a.grad.flatten() for a in change.trained]))
    assert torch.cosine_similarity(*gradients, dim=0) > {"nf4": 0.99999, "int8": 0.99}[kind]


def test_8_bit_adam_trains_and_resumes_to_the_same_bits(tmp_path):
    wide = wrap(wide_pipeline(), ("cat", "dog", "house", "tree"))
    few = replace(FEW, tune=replace(FEW.tune, lr=1e-4))
    method = replace(few, tune=replace(few.tune, adam_8bit=True))
    undisturbed, usual = method(wide, PIG), few(wide, PIG)
    assert not equal(undisturbed, usual)
    deltas = []
    for edit in (undisturbed, usual):
        deltas.append(torch.cat([delta.flatten() for delta in edit.deltas.values()]))
    assert relative_error(*deltas) < 0.3
    with pytest.raises(Stop), checkpointed(tmp_path / "state", every=1, resume=False):
        method(wide, PIG, progress=stops(2))
    with checkpointed(tmp_path / "state", every=1, resume=True) as place:
        resumed = method(wide, PIG)
    assert place.resumed_from == 2
    assert equal(resumed, undisturbed)


def test_without_bitsandbytes_the_error_says_what_to_install(model, monkeypatch):
    loaded = [name for name in sys.modules if name.partition(".")[0] == "bitsandbytes"]
    for name in (*loaded, "bitsandbytes"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(InputError, match="unconcept\\[quant\\]"):
        load("emoji", device="cpu", quantize="nf4", keep_precise=GROUP)
    with pytest.raises(InputError, match="unconcept\\[quant\\]"):
        replace(FEW, tune=replace(FEW.tune, adam_8bit=True))(model, PIG)


def test_a_closed_form_is_refused(tmp_path):
    from unconcept.config.options import Training

    with pytest.raises(InputError, match="UCE does not"):
        erase([PIG], method=UCE(), out=tmp_path / "out", training=Training(quantize="nf4"))
