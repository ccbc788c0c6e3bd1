"""Weights in CPU memory: each layer's are on the device while it computes.

There is no GPU in the tests. The device "meta" stands in for it: an operation on tensors of both
devices fails there, so a pass that ends has moved everything that it needs.
"""

import pytest
import torch
from conftest import same, state

from unconcept import AllButOne, Concept, InputError, load, wrap
from unconcept.models.conditioning import to_device
from unconcept.models.interface import Sampling
from unconcept.models.offloading import largest_layer, offload
from unconcept.models.sampling import ImageSampler, has_forward_hooks

META, CPU = torch.device("meta"), torch.device("cpu")
PIG = Concept(erase="pig", alternative="cow")


def test_every_layer_computes_on_the_device(pipe):
    model = wrap(pipe)
    before = {name: state(part) for name, part in model.components.items()}
    condition = to_device(META, model.encode([""]))  # text encoders read numbers, such as masks
    offload(model, META)
    assert model.device == META
    x = torch.zeros(1, *model.latent_shape, device=META)
    with torch.no_grad(), model.text_encoders_on(CPU):
        assert model.predict(x, torch.full((1,), 500, device=META), condition).device == META
    for name, part in model.components.items():
        assert same(before[name], state(part))


def test_edits_and_images_are_the_same(model, folder):
    edit = AllButOne()(model, PIG)
    sampling = Sampling(steps=2, guidance=2.0)
    images = ImageSampler(model, sampling).images(["a pig", "a key"], [1, 2], edit=edit)
    offloaded = load(folder, device="cpu", cpu_offload=True)
    offloaded.vocabulary, offloaded.completes = model.vocabulary, False
    assert not has_forward_hooks(offloaded)
    again = AllButOne()(offloaded, PIG)
    assert again.fingerprint() == edit.fingerprint()
    assert again.card["model_sha256"] == edit.card["model_sha256"]
    sampler = ImageSampler(offloaded, sampling)
    assert torch.equal(sampler.images(["a pig", "a key"], [1, 2], edit=again), images)


def test_a_failed_pass_puts_the_weights_back(model):
    weights = model.denoiser.state_dict()
    offload(model, META)
    with pytest.raises(RuntimeError):
        model.denoiser(torch.zeros(1, 4, 8, 8), torch.zeros(1), torch.zeros(1, 24, 16))
    assert same(weights, state(model.denoiser))


def test_the_largest_layer(model):
    embedding = model.components["text_encoder"].get_input_embeddings().weight
    convolutions = [m for m in model.denoiser.modules() if isinstance(m, torch.nn.Conv2d)]
    sizes = [embedding.nbytes]
    for layer in convolutions:
        sizes.append(layer.weight.nbytes + (0 if layer.bias is None else layer.bias.nbytes))
    assert largest_layer(model) == max(sizes)


def test_quantized_weights_are_refused(folder):
    with pytest.raises(InputError, match=r"nf4.*cpu_offload"):
        load(folder, quantize="nf4", cpu_offload=True)
