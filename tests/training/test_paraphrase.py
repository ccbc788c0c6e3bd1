"""Paraphrases by hand: which words a concept is moved towards, how far, and where in a batch."""

import pytest
import torch

from unconcept import AllButOne, Concept, InputError, load
from unconcept.training.distributed import micro_batches
from unconcept.training.paraphrase import (
    NEIGHBOURS,
    mix_paraphrases,
    near_words,
    paraphrase_words,
    with_paraphrases,
)
from unconcept.training.replay import Replay

PIG = Concept(
    erase="pig", alternative="cow", synonyms=("hog",), templates=("{}", "a painting of {}")
)


def replay(n: int) -> Replay:
    """c says 0 in a state of two tokens, w says 1; both have a mask of their own."""

    def condition(value: float) -> dict[str, torch.Tensor]:
        return {"states": torch.full((n, 2, 3), value), "mask": torch.full((n,), value)}

    return Replay(
        torch.zeros(n, 1, 1, 1),
        torch.zeros(n),
        torch.arange(n),
        {"c": condition(0.0), "near": condition(1.0)},
        {},
    )


def test_partners_are_of_the_same_phrasing(monkeypatch):
    """The text encoder runs once for the same prompts."""
    model = load("emoji")
    encode, known = model.encode, {}

    def encode_once(prompts):
        key = tuple(prompts)
        if key not in known:
            known[key] = encode(prompts)
        return known[key]

    monkeypatch.setattr(model, "encode", encode_once)
    near = near_words(model, PIG)
    assert len(near) == NEIGHBOURS
    assert {"pig", "hog"}.isdisjoint(near)
    assert {"boar", "cow"} & set(near), near
    seen = set()
    for seed in range(20):
        towards = paraphrase_words(model, PIG, seed)
        assert len(towards) == len(PIG.pairs())
        for (concept_prompt, _), prompt in zip(PIG.pairs(), towards):
            assert prompt.startswith("a painting of ") == concept_prompt.startswith(
                "a painting of "
            )
            seen.add(prompt.removeprefix("a painting of ").removeprefix("a ").removeprefix("an "))
    assert seen == {"hog", *near}


def test_states_lie_on_the_way_and_the_rest_is_the_concepts():
    near = with_paraphrases(replay(500), "states", 0.5, seed=0).conditions["near"]
    u = near["states"][:, 0, 0]
    assert 0 <= u.min() < 0.05
    assert 0.45 < u.max() <= 0.5
    assert torch.equal(near["states"], u.view(-1, 1, 1).expand(-1, 2, 3)), (
        "one share for all of a prompt's tokens"
    )
    assert near["mask"].max() == 0
    assert torch.equal(
        u,
        with_paraphrases(replay(500), "states", 0.5, seed=0).conditions["near"]["states"][:, 0, 0],
    )


def test_every_other_point_asks_on_the_way():
    c = mix_paraphrases(replay(5)).conditions["c"]
    assert c["states"][:, 0, 0].tolist() == [1.0, 0.0, 1.0, 0.0, 1.0]
    assert c["mask"].tolist() == [1.0, 0.0, 1.0, 0.0, 1.0]


@pytest.mark.parametrize("parts", [1, 2, 4])
def test_however_the_batch_is_parted(parts):
    whole = replay(8).batch(torch.tensor([3, 1, 4, 1, 5, 0, 2, 6]))
    pieces = [
        mix_paraphrases(whole[share]).conditions["c"]["states"][:, 0, 0]
        for share in micro_batches(8, parts)
    ]
    assert torch.cat(pieces).tolist() == [1.0, 0.0] * 4


def test_it_is_a_share():
    with pytest.raises(InputError, match="between 0 and 1"):
        AllButOne(paraphrase=1.5)
