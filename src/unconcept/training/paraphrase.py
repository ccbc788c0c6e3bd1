"""Paraphrases inside the training: token states on the way from the concept to its synonyms and to the words nearest to it.

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

NEIGHBOURS = 8  # the nearest words of the vocabulary


def paraphrase_words(model: Model, concept: Concept, seed: int) -> list[str]:
    """For each of `concept.pairs()` a prompt to go towards: of the same phrasing, with a synonym or a near word by chance."""
    words, chance = [*concept.synonyms, *near_words(model, concept)], random.Random(seed)
    return [concept.phrase(phrase, chance.choice(words)) for phrase, _ in concept.phrasings()]


def near_words(model: Model, concept: Concept) -> list[str]:
    """The words of the vocabulary that the text encoder puts nearest to the concept."""
    say = article if concept.kind == "object" else str
    words = list(dict.fromkeys([concept.erase, *concept.keep, *model.vocabulary]))
    order = rank_by_similarity(model.encode([say(word) for word in words])[model.prompt_states_key].float(), [0])[0].tolist()
    return [words[i] for i in order if i and words[i] not in concept.synonyms][:NEIGHBOURS]


def with_paraphrases(z: Replay, words: str, radius: float, seed: int) -> Replay:
    """The replay with c̃ in its role "near", where w stood; of each point its own. words: the entry of a condition that holds token states."""
    c, w = z.conditions["c"], z.conditions["near"]
    u = radius * torch.rand(len(z), 1, 1, generator=torch.Generator().manual_seed(seed))
    mixed = torch.lerp(c[words].float(), w[words].float(), u).to(c[words].dtype)
    return replace(z, conditions={**z.conditions, "near": PromptConditions.of({**c, words: mixed})})


def mix_paraphrases(z: Replay) -> Replay:
    """Every other point of a batch asks for c̃ in the place of c, beginning with the first."""
    return replace(z, conditions={**z.conditions, "c": where_rows(z.second(), z.conditions["c"], z.conditions["near"])})
