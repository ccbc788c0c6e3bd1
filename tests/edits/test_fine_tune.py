"""An edit of a base model on a fine-tune of it."""

import copy
import re

import pytest
import torch
from conftest import same, state
from torch.nn.functional import mse_loss

from unconcept import Concept, InputError, load
from unconcept.methods import UCE


@pytest.fixture(scope="module")
def base():
    return load("emoji")


@pytest.fixture(scope="module")
def edit(base):
    return UCE()(base, Concept(erase="pig", alternative="cow", templates=("a {}",)))


def fine_tuned(base):
    """The model after two steps of training on noise: every weight moves by up to 2e-4."""
    model = copy.deepcopy(base)
    optimizer = torch.optim.Adam(model.denoiser.requires_grad_(True).parameters(), lr=1e-4)
    x = torch.randn(1, *model.latent_shape, generator=torch.Generator().manual_seed(0))
    for _ in range(2):
        prediction = model.predict(x, torch.tensor([500]), model.encode(["a dog"]))
        mse_loss(prediction, x).backward()
        optimizer.step()
        optimizer.zero_grad()
    model.denoiser.requires_grad_(False)
    return model


def test_a_fine_tune_takes_the_edit_with_a_warning(base, edit, caplog):
    model = fine_tuned(base)
    before = state(model.denoiser)
    assert edit.check(base) is None
    edit.apply(model)
    distance = re.search(
        r"relative of this model, whose weights differ by up to ([\d.]+)%", caplog.text
    )
    assert distance
    assert 0 < float(distance[1]) < 50
    name = next(iter(edit.deltas))
    changed = model.denoiser.get_parameter(name.partition(".")[2])
    torch.testing.assert_close(changed, before[name.partition(".")[2]] + edit.deltas[name])
    edit.remove(model)
    assert same(before, state(model.denoiser))


@pytest.mark.parametrize("factor", [-1.0, float("nan")])
def test_a_model_that_is_far_away_is_another_one(base, edit, factor):
    model = copy.deepcopy(base)
    for weight in model.denoiser.parameters():
        weight.data.mul_(factor)
    with pytest.raises(InputError, match="another model"):
        edit.apply(model)
