"""A model as one file in the original layout: it loads, and erased weights go back into it."""

import pytest
import torch
from safetensors.torch import save_file
from support.original_layout import single_file
from support.tiny_pipelines import tiny_pipeline, tiny_xl

from unconcept import Edit, load
from unconcept.edits.provenance import model_identity
from unconcept.export.formats import export
from unconcept.models.interface import Sampling


def xl():
    """With text encoders of two widths, by which diffusers distinguishes them."""
    return tiny_xl(second=32)


@pytest.fixture(params=[tiny_pipeline, xl])
def pair(request, tmp_path):
    """(the folder, the single file of the same model)"""
    pipe = request.param()
    pipe.save_pretrained(tmp_path / "folder")
    save_file(single_file(pipe), tmp_path / "mine.safetensors")
    return tmp_path / "folder", tmp_path / "mine.safetensors"


def draw(model) -> torch.Tensor:
    return model.decode(model.sample(["a pig", "a cat"], [0, 1], Sampling(steps=3, guidance=3.0)))


def test_it_is_the_folders_model(pair):
    folder, file = pair
    model, one = load(folder), load(file, config=folder)
    assert one.family == model.family
    assert one.fingerprint() == model.fingerprint(), "an edit of the one fits the other"
    torch.testing.assert_close(draw(one), draw(model))


def test_an_erasure_goes_back_into_the_file(pair, tmp_path):
    folder, file = pair
    model = load(folder)
    deltas = {
        site.name: torch.randn_like(getattr(*site.find(model.components)))
        for site in model.weight_group("cross-attention keys and values")
    }
    edit = Edit(deltas, {**model_identity(model), "method": "by hand", "family": model.family})
    erased = load(
        export(edit, "checkpoint", tmp_path / "erased.safetensors", model=str(file)), config=folder
    )
    with edit.on(model):
        torch.testing.assert_close(draw(erased), draw(model))
    assert (draw(erased) - draw(model)).abs().max() > 1e-3
