"""Distances between sets of images, and none where none can be measured."""

import json
import math

import pytest
import torch

from unconcept.concepts.concept import Concept
from unconcept.evaluation.emoji.benchmark import EmojiBenchmark
from unconcept.evaluation.features import CachedFeatures
from unconcept.evaluation.metrics.distribution import fid
from unconcept.evaluation.set_distances import (
    KID,
    FeatureSets,
    compute_set_distances,
    distance_score,
)
from unconcept.models.emoji.concepts import complete

PROMPTS_PER_GROUP = {"target": 20, "neighbour": 20, "unrelated": 20}


class Means:
    """Features that can be worked by hand: mean colours of 4 x 4 cells [N, 48]."""

    name = "means"

    def __call__(self, images):
        return torch.nn.functional.adaptive_avg_pool2d(images, 4).flatten(1)


@pytest.fixture(scope="module")
def exam():
    return EmojiBenchmark([complete(Concept.parse("pig=cow"))], PROMPTS_PER_GROUP, seed=3)


@pytest.fixture(scope="module")
def drawn(exam):
    """Real images of all cases, in their order."""
    return torch.cat([exam.real(group) for group in PROMPTS_PER_GROUP])


def own(exam):
    return exam.real("target"), exam.real("target").flip(3)


def test_no_image_is_looked_at_twice():
    looked = []

    class Counting(Means):
        def __call__(self, images):
            looked.append(len(images))
            return super().__call__(images)

    once, images = CachedFeatures(Counting()), torch.rand(6, 3, 8, 8)
    assert torch.equal(once(images[[0, 1, 0, 2]]), Means()(images[[0, 1, 0, 2]]))
    assert torch.equal(once(images), Means()(images))
    assert (once.name, looked) == ("means", [3, 3])


def test_real_images_show_what_is_asked_for(exam, drawn):
    """The alternative of what is erased, another style for a style, anything without either."""
    marks = exam.marks(drawn)

    def share(name, of):
        return marks[name][of][~marks[name][of].isnan()].mean().item()

    target, rest = slice(0, 20), slice(20, 60)
    assert share("concept", target) == 0.0
    assert (
        min(
            share("alternative", target),
            share("right", rest),
            share("other", rest),
            share("background", rest),
        )
        >= 0.95
    )
    assert torch.equal(drawn[:20], exam.real("target")), "the same ones every time"

    style = EmojiBenchmark(
        [complete(Concept.parse("watercolor=pencil sketch"))], {"target": 12}, seed=3
    )
    marks = style.marks(style.real("target"))
    assert (marks["concept"].mean(), marks["alternative"].mean()) == (0.0, 1.0)

    alone = EmojiBenchmark([complete(Concept.parse("weapon"))], {"target": 12}, seed=3)
    assert alone.marks(alone.real("target"))["concept"].mean() == 0.0


def test_distances_grow_with_the_damage(exam, drawn):
    """0 between real images; the whiter the images, the farther they are."""

    def white(share):
        return drawn * (1 - share) + share

    found = [
        compute_set_distances(exam, drawn, after, Means(), lambda: own(exam))
        for after in (drawn, white(0.6), white(0.95))
    ]
    for name, group in [("KID means to real pictures", g) for g in PROMPTS_PER_GROUP] + [
        ("KID means to the original's pictures", "unrelated")
    ]:
        none, some, much = (rows[name, group].after for rows in found)
        assert none <= 0.0 < some < much, (name, group)
        assert found[0][name, group].n == 20
    assert (
        found[2]["KID means to real pictures", "unrelated"].before
        == found[0]["KID means to real pictures", "unrelated"].after
    )
    assert (
        found[0]["control: KID means to real pictures, the alternative's own", "structure"].after
        <= 0.0
    )
    assert (
        found[0][
            "control: KID means to the alternative's own pictures, those themselves", "structure"
        ].better
        is None
    )


def test_few_images_have_no_frechet_distance(exam, drawn):
    found = next(
        r
        for r in compute_set_distances(exam, drawn, drawn, Means(), lambda: own(exam))
        if r.name.startswith("FID")
    )
    assert (found.after, found.n, found.reason) == (None, 0, "20 images; 5000 are needed")


def test_frechet_distance_by_hand():
    """In one dimension it is (μ - μ')² + (σ - σ')².

    Here μ = 1 and 4, σ = √(4/3) and twice that: 9 + 4/3.
    """
    x = torch.tensor([[0.0], [2.0]] * 2)
    y = 4 + 2 * (x - 1)
    assert fid(x, x)["value"] == pytest.approx(0.0, abs=1e-4)
    assert fid(x, y)["value"] == pytest.approx(9 + 4 / 3, abs=1e-3)
    assert fid(x, y)["value"] == pytest.approx(fid(y, x)["value"], abs=1e-3)


@pytest.mark.parametrize("damage", ["nan", "blank"])
def test_broken_images_are_no_distance(exam, drawn, damage):
    """Never 0 and never NaN: null, with the reason."""
    after = torch.full_like(drawn, math.nan if damage == "nan" else 0.0)
    rows = compute_set_distances(exam, drawn, after, Means(), lambda: own(exam))
    mine = [r for r in rows if not r.name.startswith(("control", "FID"))]
    assert len(mine) == 6
    assert all(r.after is None and "not finite, or all the same" in r.reason for r in mine)
    assert json.dumps(rows.to_json(), allow_nan=False)


def test_too_few_and_unknown_ones_say_so(exam, drawn):
    few = torch.rand(15, 8)
    assert (
        distance_score(KID, "KID", "target", FeatureSets(few, few)).reason
        == "15 images; 16 are needed"
    )
    rows = compute_set_distances(exam, drawn, drawn, None, lambda: own(exam))
    assert all(r.after is None and "unconcept[evaluate]" in r.reason for r in rows)
