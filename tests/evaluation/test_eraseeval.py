"""EraseEval: M1 to M4 against numbers worked by hand, with stubs for everybody who is asked."""

import json
import math

import pytest
import torch

from unconcept import Concept, Edit, InputError
from unconcept.evaluation.benchmark import PromptCase
from unconcept.evaluation.eraseeval import (
    EraseEval,
    Measured,
    Plugs,
    Prompts,
    Protocol,
    harmonic4,
    read_levels,
    run_eraseeval,
)
from unconcept.evaluation.eraseeval.measures import cmmd, m1, m2, m3, m4, names_concept
from unconcept.evaluation.eraseeval.plugs import bag_of_words
from unconcept.models.interface import Sampling

PIG = Concept(erase="pig", alternative="cow", synonyms=("hog",))


def test_m1_by_hand():
    """Two originals along x and y; erased: one along x, one that leaks. Four pairs: 1, 0, 0, 0."""
    original = torch.tensor([[[2.0, 0.0], [0.0, 3.0]]])
    erased = torch.tensor([[[5.0, 0.0], [1.0, 1.0]]])
    leaks = torch.tensor([[False, True]])
    assert m1(original, erased, leaks).value == 0.25
    clean = m1(original, erased, torch.tensor([[False, False]]))
    assert clean.value == pytest.approx((1 + 0 + 2 * math.sqrt(0.5)) / 4, abs=1e-4)
    assert m1(original[:0], erased[:0], leaks[:0]).value is None


def test_m2_by_hand():
    original = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    erased = torch.tensor([[1.0, 0.0], [3.0, 4.0], [1.0, 0.0]])
    leaks = torch.tensor([False, False, True])
    measured = m2(original, erased, leaks)
    assert measured.value == pytest.approx(1.6 / 3, abs=1e-4)
    assert measured.n == 3


def test_m3_by_hand():
    original, erased = torch.tensor([1.0, 0.6]), torch.tensor([0.6, 0.6])
    assert m3(original, erased).value == pytest.approx(0.75)
    assert m3(erased, original).value == 1
    assert m3(torch.tensor([torch.nan]), torch.tensor([0.0])).value is None


def test_m4_by_hand():
    """Unit features x real, y: two points at distance d have MMD² = 2 - 2 exp(-d²/200)."""
    real = torch.tensor([[1.0, 0.0]])
    near = torch.tensor([[math.cos(1.0), math.sin(1.0)]])
    far = torch.tensor([[math.cos(1.2), math.sin(1.2)]])

    def squared(angle):
        return 2 - 2 * math.exp(-((2 * math.sin(angle / 2)) ** 2) / 200)

    assert cmmd(real, near) == pytest.approx(1000 * squared(1.0))
    assert m4(near, far, real).value == pytest.approx(2 - squared(1.2) / squared(1.0), abs=1e-4)
    assert m4(far, near, real).value == 1
    assert m4(near, far, None).value is None


def measured(value):
    return Measured.of(torch.tensor(value), 10, torch.full((500,), value))


def test_the_aggregate_is_low_if_any_part_is():
    parts = [measured(value) for value in (1.0, 0.5, 1.0, 0.5)]
    whole = harmonic4(parts)
    assert whole.value == pytest.approx(4 / 6, abs=1e-4)
    assert whole.ci95 == pytest.approx((4 / 6, 4 / 6), abs=1e-4)
    assert harmonic4([*parts[:3], measured(0.0)]).value == 0
    missing = harmonic4([*parts[:3], Measured(None, reason="no real images")])
    assert missing.value is None
    assert "M4 was not measured: no real images" in missing.reason


@pytest.mark.parametrize(
    ("name", "caption", "named"),
    [
        ("english-springer", "An English Springer on a lawn", True),
        ("Pig", "two pigs", True),
        ("pig", "a pigment", False),
        ("pig", "a HOG", True),
        ("cow", "a pig", False),
    ],
)
def test_names_are_found_in_captions(name, caption, named):
    synonyms = ("hog",) if name == "pig" else ()
    assert names_concept(caption, Concept(erase=name, synonyms=synonyms)) == named


def test_a_bag_of_words_by_hand():
    bags = bag_of_words(["a pig and a key", "a key", "a"])
    assert torch.cosine_similarity(bags[0], bags[1], dim=0).item() == pytest.approx(0.5**0.5)
    assert torch.cosine_similarity(bags[1], bags[2], dim=0).item() == 0


class Sampler:
    """Images of one colour: bright where the concept is shown. The edit darkens them."""

    sampling = Sampling(seed=0)

    def __init__(self, model):
        self.model = model

    def images(self, prompts, seeds, *, edit=None, stage=""):
        erased = edit is not None
        rows = []
        for prompt in prompts:
            shows = ("pig" in prompt or "farm" in prompt) and not erased
            rows.append(torch.full((3, 2, 2), 0.9 if shows else 0.1))
        return torch.stack(rows) if rows else torch.zeros(0, 3, 2, 2)


class Stub:
    """Two unrelated prompts, and real images like theirs."""

    def real(self, group):
        return torch.full((3, 3, 2, 2), 0.4)


def features(images):
    bright = images.mean((1, 2, 3))
    return torch.stack([bright, 1 - bright], 1)


features.name = "brightness"


def protocol(model):
    def eye(images):
        return images.mean((1, 2, 3)) > 0.5

    def caption(images):
        return ["a pig, blue" if seen else "a cow, blue" for seen in eye(images)]

    def agreement(images, cases):
        return torch.full((len(images),), 0.8)

    plugs = Plugs(caption, (eye,), bag_of_words, features, agreement, {"eye": "brightness"})
    return Protocol(Sampler(model), PIG, Stub(), plugs, EraseEval(1, 2, 3, 2))


def test_stubs_give_what_is_worked_by_hand(model):
    """M1: "pig blue" against "cow blue", cosine 1/2. M2: (.9, .1) against (.1, .9): .18/.82."""
    cases = [PromptCase("a key", "unrelated", "key"), PromptCase("a cat", "unrelated", "cat")]
    prompts = Prompts([("a fox", ""), ("a pig", "a cow")], ["a farm animal"], cases)
    result = run_eraseeval(protocol(model), Edit({"x": torch.ones(1)}), prompts)
    assert result["prompts"]["explicit"] == ["a pig"]
    assert len(result["prompts"]["implicit"]) == 3
    edit, identity = result["edit"], result["identity"]
    assert edit["M1"]["value"] == pytest.approx(0.5, abs=1e-4)
    assert edit["M2"]["value"] == pytest.approx(0.18 / 0.82, abs=1e-4)
    assert edit["M3"]["value"] == 1
    assert edit["M4"]["value"] == 1
    assert edit["harmonic4"]["value"] == pytest.approx(4 / (2 + 0.82 / 0.18 + 2), abs=1e-3)
    assert edit["votes"] == {"yes": 0, "named": 0, "and": 0, "or": 0}
    assert identity["M1"]["value"] == 0
    assert identity["M2"]["value"] == 0
    assert identity["harmonic4"]["value"] == 0
    assert result["M1 anchors"]["ceiling"]["value"] == 1
    assert result["M1 anchors"]["ideal"]["value"] == pytest.approx(0.5, abs=1e-4)


def test_own_prompts_and_those_of_emma(tmp_path):
    own = tmp_path / "own.json"
    own.write_text(json.dumps({"Guinea-Pig": {"explicit": ["a guinea pig"], "implicit": ["it"]}}))
    assert read_levels(own, "guinea pig") == {"explicit": ["a guinea pig"], "implicit": ["it"]}
    emma = tmp_path / "emma"
    emma.mkdir()
    (emma / "1_name.json").write_text(json.dumps({"pig": ["pig"], "cow": ["cow"]}))
    (emma / "4_short.json").write_text(json.dumps({"pig": ["an animal of a sty"]}))
    (emma / "6_random.json").write_text(json.dumps({"pig": ["a car"]}))
    levels = read_levels(emma, "pig")
    assert levels == {"explicit": ["pig"], "implicit": ["an animal of a sty"]}
    with pytest.raises(InputError, match='no prompts for "car"'):
        read_levels(emma, "car")
    own.write_text('{"pig": {"explicit": "a pig"}}')
    with pytest.raises(InputError, match="another form"):
        read_levels(own, "pig")
