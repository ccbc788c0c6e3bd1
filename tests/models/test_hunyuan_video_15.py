"""HunyuanVideo 1.5: where its text tokens stand, and which guiders are refused."""

from types import SimpleNamespace

import pytest
import torch
from diffusers.guiders.classifier_free_guidance import ClassifierFreeGuidance
from diffusers.guiders.classifier_free_zero_star_guidance import ClassifierFreeZeroStarGuidance

from unconcept import InputError
from unconcept.models.families.hunyuan_video_15 import check_guider, text_places


def test_padding_stands_behind_all_that_is_read():
    """Three tokens of which two are read, two glyphs of which one or none is, and one image.

    Row 1: [glyph 0, token 0, token 1, image, glyph 1, token 2]; row 2: [token 0, token 1, image,
    glyph 0, glyph 1, token 2]. Places are listed as tokens, image, glyphs.
    """
    mask = torch.tensor([[1.0, 1, 0], [1, 1, 0]])
    glyphs = torch.tensor([[1.0, 0], [0, 0]])
    places = text_places(mask, glyphs, images=1)
    assert places.tolist() == [[1, 2, 5, 3, 0, 4], [0, 1, 5, 2, 3, 4]]


def pipe_with(guider):
    return SimpleNamespace(guider=guider)


def test_only_plain_guidance_is_taken():
    check_guider(pipe_with(ClassifierFreeGuidance(guidance_scale=3.0)))
    with pytest.raises(InputError, match="is ClassifierFreeZeroStarGuidance; only plain"):
        check_guider(pipe_with(ClassifierFreeZeroStarGuidance()))
    with pytest.raises(InputError, match="has guidance_rescale 0"):
        check_guider(pipe_with(ClassifierFreeGuidance(guidance_rescale=0.7)))
