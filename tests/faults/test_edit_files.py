"""An edit file that anybody may have written: the card, and tensors that do not fit."""

import json

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from unconcept import Edit, InputError
from unconcept.edits.card import FORMS, read_card
from unconcept.io.weights import write_safetensors

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
concept = {"erase": "pig", "alternative": "cow"}


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.dictionaries(st.sampled_from([*FORMS, "other"]), anything), anything)
def test_a_card_is_read_or_refused(tmp_path_factory, fields, value):
    for card in ({"concepts": [concept], **fields}, {"concepts": [{**concept, "keep": value}]}):
        try:
            read = read_card(json.dumps(card), tmp_path_factory.getbasetemp() / "edit")
        except InputError:
            continue
        assert read.keys() == card.keys()


@pytest.mark.parametrize(
    "text",
    ["", "{", "[" * 200_000, "9" * 10_000, "null", "[]", '"text"']
    + [json.dumps({"concepts": c}) for c in (None, "pig", 3, ["pig"], [{}], [{"erase": 3}])]
    + ['{"model_weights": {"a": ["b"]}}', '{"model_weights": {"a": [NaN]}}', '{"settings": null}']
    + ['{"adapters": ["a"]}', '{"adapters": {"a": {}}}', '{"method": {}}'],
)
def test_a_damaged_card_is_wrong_input(text, tmp_path):
    file = write_safetensors({"a": torch.ones(2)}, tmp_path / "e.safetensors", {"unconcept": text})
    with pytest.raises(InputError):
        Edit.load(file)


@pytest.mark.parametrize(
    "tensors",
    [
        {"a:up": torch.ones(3, 2)},
        {"a:down": torch.ones(2, 3)},
        {"a:up": torch.ones(3, 2), "a:down": torch.ones(3, 3)},
        {"a:up": torch.ones(3), "a:down": torch.ones(3)},
        {"a:up": torch.ones(3, 2).long(), "a:down": torch.ones(2, 3).long()},
    ],
)
def test_factors_that_do_not_fit_are_wrong_input(tensors, tmp_path):
    card = {"unconcept": json.dumps({"concepts": [concept]})}
    file = write_safetensors(tensors, tmp_path / "edit.safetensors", card)
    with pytest.raises(InputError, match="damaged"):
        Edit.load(file)


@settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
@given(st.text(max_size=20), st.text(max_size=20))
def test_any_two_words_are_a_concept_or_refused(one, two):
    from unconcept import Concept

    for words in (one, f"{one}={two}"):
        try:
            parsed = Concept.parse(words)
        except InputError:
            continue
        assert parsed.erase.strip() == parsed.erase != ""
        for prompt, alternative in parsed.pairs():
            assert parsed.erase in prompt or parsed.kind == "style"
            assert prompt != alternative
