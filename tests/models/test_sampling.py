"""Sampling and ImageSampler: the model's own choices, and images that are sampled once."""

import hashlib

import pytest
import torch
from support.tiny_pipelines import tiny_pipeline

from unconcept.edits.edit import Edit
from unconcept.errors import InputError
from unconcept.models import wrap
from unconcept.models.image_cache import file_name, read_image
from unconcept.models.sampling import ImageSampler, Sampling

PROMPTS, SEEDS = ["a cat", "a dog", "a tree"], [1, 2, 3]


@pytest.fixture(scope="module")
def model():
    return wrap(tiny_pipeline())


@pytest.fixture(scope="module")
def edit(model):
    site = next(
        site
        for site in model.weight_group("cross-attention keys and values")
        if "to_v" in site.name
    )
    owner, parameter = site.find(model.components)
    return Edit({site.name: torch.ones_like(getattr(owner, parameter))})


def test_none_is_the_models_own_choice(model):
    sampling = Sampling(steps=3).resolve(model)
    assert (sampling.steps, sampling.guidance, sampling.sampler, sampling.size) == (
        3,
        model.guidance,
        "ddim",
        model.image_size,
    )
    chosen = Sampling(steps=3, guidance=0.0, sampler="dpm-solver++").resolve(model)
    assert (chosen.guidance, chosen.sampler) == (0.0, "dpm-solver++")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"steps": 0}, "1 step or more"),
        ({"sampler": "ddpm"}, "unknown sampler"),
        ({"size": 7}, "pixels"),
        ({"frames": 8}, "not videos"),
    ],
)
def test_what_a_model_does_not_sample_is_refused(model, fields, message):
    with pytest.raises(InputError, match=message):
        Sampling(**fields).resolve(model)


def test_cached_images_of_earlier_versions_are_found(model, edit, tmp_path):
    """Their file names have not changed."""
    sampler = ImageSampler(model, Sampling(steps=2, guidance=2.0), tmp_path, batch_size=2)
    plain = sampler.images(PROMPTS, SEEDS)
    edited = sampler.images(PROMPTS, SEEDS, edit=edit)
    assert not torch.equal(plain, edited)
    key = model.image_cache_key()
    for made_by, images in ((key, plain), (key + edit.fingerprint(), edited)):
        for prompt, seed, image in zip(PROMPTS, SEEDS, images):
            file = tmp_path / file_name(made_by, prompt, seed, "ddim", 2, 2.0)
            assert torch.equal(read_image(file), image)
    assert len(list(tmp_path.rglob("*.png"))) == 6
    digest = hashlib.sha256(b'["key", "a cat", 1, "ddim", 25, 5.0]').hexdigest()
    assert file_name("key", "a cat", 1, "ddim", 25, 5.0) == f"{digest[:2]}/{digest[2:]}.png"


def test_images_are_sampled_once(model, tmp_path, monkeypatch):
    """A cached image is not sampled again and is the same to the bit."""

    def sampler(key: str) -> ImageSampler:
        monkeypatch.setattr(model, "image_cache_key", lambda: key, raising=False)
        return ImageSampler(model, Sampling(steps=2, guidance=2.0), tmp_path, batch_size=2)

    first = sampler("a").images(PROMPTS, SEEDS)
    assert torch.equal(sampler("b").images(PROMPTS, SEEDS), first), "the same model by another name"
    assert len(list(tmp_path.rglob("*.png"))) == 6
    next(tmp_path.rglob("*.png")).unlink()
    calls = []
    sample = type(model).sample

    def counted(self, prompts, *args, **more):
        calls.append(len(prompts))
        return sample(self, prompts, *args, **more)

    monkeypatch.setattr(type(model), "sample", counted)
    assert torch.equal(sampler("a").images(PROMPTS, SEEDS), first)
    assert torch.equal(sampler("b").images(PROMPTS, SEEDS), first)
    assert len(calls) == 1, "only the batch with the missing image"


def test_another_sampler_has_images_of_its_own(model, tmp_path):
    sampler = ImageSampler(model, Sampling(steps=2, guidance=2.0), tmp_path)
    other = sampler.with_sampling(sampler="dpm-solver++")
    assert not torch.equal(sampler.images(PROMPTS, SEEDS), other.images(PROMPTS, SEEDS))
    assert len(list(tmp_path.rglob("*.png"))) == 6


def test_nothing_is_cached_behind_a_forward_hook(model, tmp_path):
    """An adapter changes images and no weight: its images belong to no hash of weights."""
    handle = model.denoiser.conv_out.register_forward_hook(
        lambda module, args, output: 0.5 * output
    )
    try:
        ImageSampler(model, Sampling(steps=2), tmp_path).images(PROMPTS, SEEDS)
    finally:
        handle.remove()
    assert not list(tmp_path.rglob("*.png"))


def test_every_batch_is_reported(model):
    seen = []
    ImageSampler(model, Sampling(steps=2), progress=seen.append, batch_size=2).images(
        PROMPTS, SEEDS, stage="images before"
    )
    reports = dict.fromkeys((p.stage, p.done, p.total) for p in seen)
    assert list(reports) == [("images before", done, 3) for done in (0, 2, 3)]


def test_progress_is_reported_after_every_sampling_step(model):
    reports = []
    watched = ImageSampler(model, Sampling(steps=4), progress=reports.append, batch_size=2)
    images = watched.images(PROMPTS, SEEDS)
    places = [report.done + report.part for report in reports]
    assert places == [0, 0, 0.5, 1, 1.5, 2, 2, 2, 2.25, 2.5, 2.75, 3, 3]
    assert {report.total for report in reports} == {3}
    assert torch.equal(
        images, ImageSampler(model, Sampling(steps=4), batch_size=2).images(PROMPTS, SEEDS)
    )
