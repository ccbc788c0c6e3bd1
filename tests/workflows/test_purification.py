"""The loop through noise and back: exact where it can be, and changed by the edit alone."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from unconcept import Edit
from unconcept.errors import InputError
from unconcept.evaluation.metrics.similarity import psnr
from unconcept.models.interface import Sampling
from unconcept.workflows.purification import Inversion, caption_from_edit, purify, read_image


class Constant(torch.nn.Module):
    """A denoiser with one prediction at every step: DDIM's way back is then its way there."""

    def __init__(self, unet, said):
        super().__init__()
        self.said, self.config, self.device, self.dtype = said, unet.config, unet.device, unet.dtype

    def forward(self, x, t, states, return_dict=False):
        return (self.said.expand_as(x),)


@pytest.mark.parametrize("upto", [4, 10, 20])
def test_inversion_is_exact_for_a_constant_prediction(model, upto):
    x = torch.randn(2, 4, 8, 8)
    model.pipe.unet = Constant(model.pipe.unet, torch.randn(1, 4, 8, 8))
    noise = model.invert(x, ["a pig", "a cat"], steps=20, upto=upto)
    assert not torch.allclose(noise, x, atol=0.1)
    *_, (back, _) = model.trajectory(
        ["a pig", "a cat"], (), Sampling(steps=20, guidance=2.0), latents=noise, skip=20 - upto
    )
    torch.testing.assert_close(back, x, rtol=1e-3, atol=1e-3)


def test_no_edit_changes_nothing_and_an_edit_something(model):
    torch.manual_seed(0)
    images = torch.rand(3, 3, 16, 16)
    control, done = purify(images, model, Edit({}), ["a pig"] * 3, Inversion(steps=6, batch_size=2))
    assert torch.equal(control, done)
    sites = [s.name for s in model.weight_group("cross-attention")]
    edit = Edit(
        {
            site: torch.ones_like(model.denoiser.get_parameter(site.removeprefix("unet.")))
            for site in sites
        }
    )
    again, done = purify(images, model, edit, ["a pig"] * 3, Inversion(steps=6))
    torch.testing.assert_close(again, control, rtol=1e-3, atol=1e-3)
    assert not torch.allclose(again, done)


def test_psnr_by_hand():
    """A difference of 0.1 everywhere: mean square 0.01, 20 dB."""
    assert psnr(torch.zeros(1, 3, 4, 4), torch.full((1, 3, 4, 4), 0.1)).item() == pytest.approx(
        20.0, abs=1e-4
    )
    assert psnr(torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 4)).item() == pytest.approx(100.0)


def test_a_image_is_read_as_its_middle_square(tmp_path):
    image = Image.new("RGB", (40, 20), "white")
    image.paste("black", (0, 0, 10, 20))
    image.save(tmp_path / "wide.png")
    assert read_image(tmp_path / "wide.png", 8).min() > 0.9
    with pytest.raises(InputError, match="as an image"):
        read_image(tmp_path / "none.png", 8)


def test_purify(run, tmp_path, folder, quick):
    assert (
        run(
            "erase",
            "pig",
            "--to",
            "cow",
            "--model",
            folder,
            "--config",
            quick,
            "--out",
            "gone",
            "--evaluate",
            "none",
        )[0]
        == 0
    )
    Image.new("RGB", (30, 20), "red").save(tmp_path / "red.png")
    code, out, err = run(
        "purify", "red.png", "--edit", "gone", "--model", folder, "--steps", "4", "--out", "pure"
    )
    assert (code, out.strip()) == (0, "pure/sheet.png"), err
    assert {p.name for p in (tmp_path / "pure").iterdir()} == {
        "red.png",
        "sheet.png",
        "purify.json",
    }
    found = json.loads((tmp_path / "pure" / "purify.json").read_text())
    assert found["settings"]["caption"] == "a pig"
    assert found["pictures"][0]["control_psnr"] > 0
    assert (
        run(
            "purify",
            "red.png",
            "--edit",
            "gone",
            "--model",
            folder,
            "--strength",
            "2",
            "--out",
            "other",
        )[0]
        == 2
    )


@pytest.mark.parametrize(
    ("concepts", "said"),
    [
        ([{"erase": "owl"}], "an owl"),
        ([{"erase": "van gogh", "kind": "style"}], "a van gogh picture"),
        ([], None),
        ([{"erase": "pig"}, {"erase": "owl"}], None),
    ],
)
def test_the_caption_is_what_the_edit_erases(concepts, said):
    edit = Edit({}, {"concepts": concepts})
    if said:
        assert caption_from_edit(edit, Path("gone")) == said
    else:
        with pytest.raises(InputError, match="give a --caption"):
            caption_from_edit(edit, Path("gone"))
