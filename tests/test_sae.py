"""The sparse autoencoder by hand, and as a gate: what has nothing of the concept passes bit for bit."""

import pytest
import torch

from unconcept import Concept
from unconcept.adapters import SparseAutoencoder
from unconcept.methods import SAE
from unconcept.methods.sae import strongest

PIG = Concept(erase="pig", templates=("{}", "a picture of {}"), keep=("cat", "dog", "house"))
QUICK = SAE(features=512, active=8, steps=200, top=16, batch=16)


def by_hand(**tensors) -> SparseAutoencoder:
    """Two features along the axes of a plane, both may be active; feature 0 is the concept's and is turned to -1 times itself."""
    given = {
        "encoder": torch.eye(2), "latent": torch.zeros(2), "decoder": torch.eye(2), "centre": torch.zeros(2), "active": torch.tensor(2),
        "features": torch.tensor([0]), "scale": torch.tensor(-1.0), "threshold": torch.tensor(0.0), "strength": torch.ones(()),
    }  # fmt: skip
    return SparseAutoencoder({**given, **tensors})


def test_features_by_hand():
    """Of (3, 2) the largest alone is kept when k = 1, and what is below 0 is none."""
    z = by_hand(active=torch.tensor(1)).sparse(torch.tensor([[3.0, 2.0], [-1.0, -2.0]]))
    assert z.tolist() == [[3.0, 0.0], [0.0, 0.0]]


def test_deactivation_by_hand():
    """The first token stays. (3, 2) has 3 of the feature: it becomes (-3, 2). (-1, 2) has none of it and stays."""
    h = torch.tensor([[[5.0, 5.0], [3.0, 2.0], [-1.0, 2.0]]])
    assert by_hand()(h).tolist() == [[[5.0, 5.0], [-3.0, 2.0], [-1.0, 2.0]]]
    assert by_hand(strength=torch.tensor(0.5))(h)[0, 1].tolist() == [0.0, 2.0]


def test_the_gate_by_hand():
    """One token is changed by (-6, 0): mean square 18. A threshold above it closes the gate."""
    h = torch.tensor([[[5.0, 5.0], [3.0, 2.0], [-1.0, 2.0]]])
    assert by_hand().score(h).tolist() == [18.0]
    assert torch.equal(by_hand(threshold=torch.tensor(18.1))(h), h)
    assert not torch.equal(by_hand(threshold=torch.tensor(17.9))(h), h)


def test_strongest_by_hand():
    hidden = torch.tensor([[[9.0, 9.0], [3.0, -1.0], [1.0, 2.0]]])
    assert strongest(by_hand(), hidden, 1) == {0}
    assert strongest(by_hand(), hidden, 2) == {0, 1}


def test_training_explains_what_it_sees():
    """Points made of 3 of 12 directions each: with as many features it explains most of their variance, and more than it began with."""
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(12, 16, generator=generator)
    codes = torch.zeros(600, 12).scatter(1, torch.rand(600, 12, generator=generator).topk(3).indices, 1.0)
    h = codes @ directions
    method = SAE(features=32, active=4, steps=600, lr=1e-2, batch=16)
    sae = method.train(h, lambda progress: None)
    begun = SparseAutoencoder.begin(h, 32, 4, torch.Generator().manual_seed(0))
    left = lambda s: ((h - s.decode(s.sparse(s.before(h)))).square().sum() / (h - h.mean(0)).square().sum()).item()
    assert left(sae) < 0.15 < left(begun)
    torch.testing.assert_close(sae.decoder.norm(dim=0), torch.ones(32))


def test_it_guards_the_prompts_of_the_concept_alone(model, tmp_path):
    edit = QUICK(model, PIG)
    for prompt in ("", "a cat", "a picture of a house"):
        plain = model.encode([prompt])[model.words]
        with edit.on(model):
            assert torch.equal(model.encode([prompt])[model.words], plain), prompt
    plain = model.encode(["a picture of a pig"])[model.words]
    with edit.on(model):
        assert not torch.equal(model.encode(["a picture of a pig"])[model.words], plain)


def test_the_autoencoder_is_trained_once(model, tmp_path, monkeypatch):
    method = SAE(features=512, active=8, steps=20, top=16, batch=4, cache=str(tmp_path))
    method(model, PIG)
    monkeypatch.setattr(SAE, "train", None)
    method(model, PIG)
    assert len(list(tmp_path.iterdir())) == 1


def test_nothing_of_its_own_is_said(model):
    from unconcept.errors import InputError

    with pytest.raises(InputError, match="no feature of its own"):
        SAE(features=8, active=8, steps=2, top=8, batch=4)(model, PIG)
