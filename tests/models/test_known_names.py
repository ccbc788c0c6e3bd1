"""Names that the lexicon has, and the model does not know."""

import pytest
import torch

from unconcept import Concept, load, wrap
from unconcept.concepts.retain import DEFAULT_VOCABULARY
from unconcept.models.known_names import MARGIN, KnownNames


@pytest.fixture(scope="module")
def emoji():
    """The embedded model as somebody's own: nobody says which words it knows."""
    return wrap(load("emoji").pipe)


def test_names_that_a_model_was_trained_on_are_known(emoji):
    names = KnownNames(emoji)
    assert names.among("pig", ["grunter", "hog", "squealer", "piglet"]) == ["hog", "piglet"]
    assert names.among("bee", ["drone", "bumblebee", "queen bee"]) == ["bumblebee", "queen bee"]
    assert names.among("pig", []) == []


def test_erasing_completes_with_known_names_alone(emoji):
    (pig,) = emoji.complete([Concept(erase="pig", alternative="cow", synonyms=("oinker",))])
    assert pig.synonyms == ("oinker", "hog"), "what the user wrote stays"
    assert emoji.complete([pig]) == (pig,)


def test_the_bar_by_hand(monkeypatch):
    """Common words at +1 and -1 along the concept's direction: mean 0, deviation 1."""
    n = len(DEFAULT_VOCABULARY)
    signs = torch.tensor([1.0, -1.0], dtype=torch.double).repeat(n // 2 + 1)[:n]
    across = torch.randn(n, 3, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    near = {"near": 0.95, "far": 0.3}

    def states(self, names):
        if names == DEFAULT_VOCABULARY:
            return torch.cat([signs[:, None] * 0.3, across], 1)
        rows = []
        for name in names:
            cosine = near.get(name, 1.0)
            rows.append([100 * cosine, 100 * (1 - cosine**2) ** 0.5, 0.0, 0.0])
        return torch.tensor(rows, dtype=torch.double)

    monkeypatch.setattr(KnownNames, "states", states)
    mean = states(None, DEFAULT_VOCABULARY).mean(0)
    words = states(None, DEFAULT_VOCABULARY) - mean
    cosines = torch.cosine_similarity(words, states(None, ["concept"]) - mean)
    assert 0.3 < cosines.mean() + MARGIN * cosines.std() < 0.95
    assert KnownNames(None).among("concept", ["far", "near"]) == ["near"]
