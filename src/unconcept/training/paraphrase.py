"""Paraphrases: token states between the concept and its synonyms or nearest words.

c̃ = c + u (w − c),    u ~ U(0, r),    c, w: the states of one phrasing with either word in it
"""

import random
from dataclasses import replace

import torch

from ..concepts.concept import Concept
from ..concepts.templates import article
from ..models.conditioning import PromptConditions, rank_by_similarity, where_rows
from ..models.interface import Model
from .replay import Replay

NEIGHBOURS = 8  # how many of the vocabulary's nearest words are used


def paraphrase_words(model: Model, concept: Concept, seed: int) -> list[str]:
    """For each of `concept.pairs()`, the same phrasing with a random synonym or near word.

    Args:
        model: Its text encoder decides which words are near.
        concept: To be erased.
        seed: Of the random choice.

    Returns:
        As many prompts as `concept.pairs()` has.
    """
    words = [*concept.synonyms, *near_words(model, concept)]
    chance = random.Random(seed)
    prompts = []
    for template, _ in concept.phrasings():
        prompts.append(concept.phrase(template, chance.choice(words)))
    return prompts


def near_words(model: Model, concept: Concept) -> list[str]:
    """The words of the vocabulary whose token states are nearest to the concept's.

    Args:
        model: Its text encoder decides which words are near.
        concept: To be erased; its synonyms are left out.

    Returns:
        At most `NEIGHBOURS` words, the nearest first.
    """
    words = list(dict.fromkeys([concept.erase, *concept.keep, *model.vocabulary]))
    prompts = [article(word) for word in words] if concept.kind == "object" else words
    states = model.encode(prompts)[model.prompt_states_key].float()
    order = rank_by_similarity(states, [0])[0].tolist()
    near = [words[i] for i in order if i and words[i] not in concept.synonyms]
    return near[:NEIGHBOURS]


def with_paraphrases(z: Replay, states_key: str, radius: float, seed: int) -> Replay:
    """The replay whose role "near" holds c̃ instead of w.

    Args:
        z: Replay with the roles "c" and "near".
        states_key: The entry of a condition that holds token states.
        radius: r, largest share of the way from c to w, between 0 and 1.
        seed: Of u, drawn for each point.

    Returns:
        The replay; everything else in c̃, such as masks, is that of c.
    """
    c, w = z.conditions["c"], z.conditions["near"]
    u = radius * torch.rand(len(z), 1, 1, generator=torch.Generator().manual_seed(seed))
    mixed = torch.lerp(c[states_key].float(), w[states_key].float(), u).to(c[states_key].dtype)
    near = PromptConditions.of({**c, states_key: mixed})
    return replace(z, conditions={**z.conditions, "near": near})


def mix_paraphrases(z: Replay) -> Replay:
    """Replace c by c̃ at every other point of a batch, beginning with the first.

    Args:
        z: Batch with roles "c" and "near".

    Returns:
        The batch.
    """
    mixed = where_rows(z.every_other(), z.conditions["c"], z.conditions["near"])
    return replace(z, conditions={**z.conditions, "c": mixed})
