"""A training without some concepts never sees them: no label, no drawing, no filter, no caption."""

import re

import numpy as np
import pytest
import torch

from pretraining import checkpoint, unaware
from pretraining import dataset as pictures
from pretraining import text_encoder as text
from pretraining.captions import caption
from pretraining.excluded import NOTHING, Excluded
from unconcept import InputError
from unconcept.evaluation.emoji import rendering as drawings
from unconcept.models import emoji
from unconcept.models.emoji.vocabulary import CATEGORIES, OBJECTS, STYLES, WORDS

CONCEPTS = ("pig", "castle", "guitar", "rose", "bus", "watercolor")
EXCLUDED = Excluded.parse(CONCEPTS)
NAMES = (
    "pig", "hog", "piglet", "castle", "fortress", "palace", "guitar", "electric guitar", "rose",
    "red blossom", "bus", "coach", "watercolor",
)  # fmt: skip
FIRST_LABELS = [
    (61, -1, 9, 9),
    (67, -1, 9, 9),
    (8, -1, 3, 3),
]  # object, other object, style, colour
NAMED = re.compile(rf"\b({'|'.join(NAMES)})s?\b")


def drawn(excluded, n=2000):
    rng = np.random.default_rng(5)
    labels = [pictures.draw_label(rng, excluded) for _ in range(n)]
    return labels, [caption(label, rng) for label in labels]


def test_the_names_are_those_of_the_table():
    assert sorted(EXCLUDED.words()) == sorted(NAMES)
    assert EXCLUDED.concepts() == ["pig", "rose", "bus", "castle", "guitar", "watercolor"]


def test_no_label_and_no_caption_holds_an_excluded_concept():
    labels, captions = drawn(EXCLUDED)
    assert not [text for text in captions if NAMED.search(text)]
    objects = {WORDS[label[side]] for label in labels for side in ("a", "b") if label[side] >= 0}
    assert objects == set(WORDS) - set(CONCEPTS)
    assert {STYLES[label["style"]] for label in labels} == set(STYLES) - {"watercolor"}


def test_a_training_without_exclusions_holds_them_all():
    """The test above can fail: the same draws name every one of them otherwise."""
    _, captions = drawn(NOTHING, n=20_000)
    assert {match[1] for text in captions for match in NAMED.finditer(text)} == set(NAMES)


def test_a_category_is_said_of_its_other_members_alone():
    labels, captions = drawn(EXCLUDED, n=20_000)
    shown = {category: set() for category in CATEGORIES}
    for label, line in zip(labels, captions):
        things = [OBJECTS[label[side]] for side in ("a", "b") if label[side] >= 0]
        for category in CATEGORIES:
            # In a scene the category may be said of either object: only single objects tell which.
            if (
                len(things) == 1
                and re.search(rf"\b{category}\b", line)
                and category in things[0].categories
            ):
                shown[category].add(things[0].word)
    assert shown["farm animal"] == {"cow", "horse", "chicken"}
    assert shown["flower"] == {"sunflower", "tulip"}
    assert shown["building"] == {"house", "church"}
    assert shown["musical instrument"] == {"violin", "trumpet", "drum"}
    assert shown["vehicle"] == {"car", "truck", "locomotive", "bicycle", "sailboat"}


def test_without_exclusions_the_draws_are_what_they_were():
    """The labels of shard 24 of the embedded model's training begin so."""
    rng = np.random.default_rng([2026, 24])
    assert [tuple(pictures.draw_label(rng).tolist()) for _ in range(3)] == FIRST_LABELS


def test_no_image_shows_an_excluded_concept(tmp_path, monkeypatch):
    used = set()
    original = drawings.drawing

    def recorded(name, index, unknown=None):
        used.add(index)
        return original(name, index, unknown)

    monkeypatch.setattr(pictures, "SHARD", 60)
    monkeypatch.setattr(drawings, "drawing", recorded)
    monkeypatch.delitem(drawings.FILTERS, "watercolor")
    pictures.make_shard((24, tmp_path, drawings.ONE_HAND, True, EXCLUDED))
    images, labels = pictures.load(tmp_path)
    assert images.shape == (60, 64, 64, 3)
    assert used == {int(i) for i in (*labels["a"], *labels["b"]) if i >= 0}
    assert not used & EXCLUDED.objects
    assert not set(labels["style"].tolist()) & EXCLUDED.styles


def test_the_text_encoder_reads_no_excluded_word(tmp_path, monkeypatch):
    read = []

    def recorded(label, rng):
        read.append(caption(label, rng))
        return read[-1]

    monkeypatch.setattr(text, "caption", recorded)
    text.train(tmp_path, emoji.load().pipe.tokenizer, steps=3, batch=24, excluded=EXCLUDED)
    assert len(read) == 3 * 24
    assert not [line for line in read if NAMED.search(line)]


def test_a_killed_training_resumes_to_the_same_weights(tmp_path, monkeypatch):
    tokenizer = emoji.load().pipe.tokenizer

    def train(folder):
        folder.mkdir(exist_ok=True)
        return text.train(folder, tokenizer, steps=4, batch=8, excluded=EXCLUDED).state_dict()

    def killed_at_its_third_step(label, rng):
        calls.append(label)
        if len(calls) > 2 * 8:
            raise KeyboardInterrupt
        return caption(label, rng)

    calls = []
    monkeypatch.setattr(checkpoint, "SAVE_SECONDS", -1)
    monkeypatch.setattr(text, "caption", killed_at_its_third_step)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "killed")
    monkeypatch.setattr(text, "caption", caption)
    assert checkpoint.Checkpoint(tmp_path / "killed/text.pt").step == 2
    resumed, whole = train(tmp_path / "killed"), train(tmp_path / "whole")
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)


def test_a_state_is_never_resumed_with_other_concepts(tmp_path):
    unaware.claim(tmp_path, EXCLUDED)
    unaware.claim(tmp_path, Excluded.parse(reversed(CONCEPTS)))
    with pytest.raises(InputError, match="choose another --work"):
        unaware.claim(tmp_path, Excluded.parse(["pig"]))


def test_concepts_go_by_their_names():
    assert Excluded.parse(["hog", "electric guitar"]) == Excluded.parse(["pig", "guitar"])
    with pytest.raises(InputError, match="giraffe"):
        Excluded.parse(["giraffe"])
