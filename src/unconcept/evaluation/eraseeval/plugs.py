"""Whom EraseEval asks: who captions, who sees, who embeds. Offline, the judge does it all."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ...concepts.templates import article
from ...models.emoji.vocabulary import COLOURS, OBJECTS, STYLES
from ..benchmark import Benchmark, PromptCase
from ..features import Features

Captioner = Callable[[Tensor], list[str]]  # images [N, 3, H, W] in [0, 1] -> N captions

Eye = Callable[[Tensor], Tensor]  # images [N, 3, H, W] in [0, 1] -> is the concept in them? [N]

Embedder = Callable[[Sequence[str]], Tensor]  # N texts -> [N, D]

# (images [N, 3, H, W] in [0, 1], their cases) -> how well each fits its prompt [N], NaN: unknown
Agreement = Callable[[Tensor, Sequence[PromptCase]], Tensor]

# Words of captions that say nothing about an image.
EMPTY_WORDS = ("a", "an", "and", "in", "of", "on", "the", "with", "style", "background", "image")


@dataclass(frozen=True)
class Plugs:
    """Whom the protocol asks.

    captioner  describes images
    eyes       say whether the concept is in an image; several vote, and all must see it for M2
    embedder   of captions
    features   of images, for M2 and M4; None: neither is measured
    agreement  of images with unrelated prompts, for M3
    names      what the report calls them, by their field
    """

    captioner: Captioner
    eyes: Sequence[Eye]
    embedder: Embedder
    features: Features | None
    agreement: Agreement
    names: dict[str, str]


def offline_plugs(benchmark: Benchmark, features: Features | None) -> Plugs:
    """Plugs that need no large model: the benchmark's judge, and bags of words.

    Args:
        benchmark: Has the judge and the concept.
        features: Of images.
    """
    judge = (benchmark.judge_card or {}).get("name", "the embedded judge")
    return Plugs(
        captioner=JudgeCaptions(benchmark),
        eyes=(JudgeEye(benchmark),),
        embedder=bag_of_words,
        features=features,
        agreement=JudgeAgreement(benchmark),
        names={
            "writer": "templates",
            "captioner": judge,
            "eye": judge,
            "embedder": "bag of words",
            "features": "none" if features is None else features.name,
        },
    )


@dataclass(frozen=True)
class JudgeEye:
    """The judge as an eye: it sees the concept, or suspects it.

    benchmark  has the judge
    """

    benchmark: Benchmark

    def __call__(self, images: Tensor) -> Tensor:
        target = next(case for case in self.benchmark.cases if case.group == "target")
        alone: Any = replace(target)
        if hasattr(alone, "other"):
            alone = replace(alone, other=-1, style=-1, colour=-1)  # type: ignore[call-arg]
        marks = marks_of(self.benchmark, images, [alone] * len(images))
        return marks.get("concept", torch.zeros(len(images))).nan_to_num() > 0


@dataclass(frozen=True)
class JudgeAgreement:
    """Share of what an unrelated prompt names that the judge finds, or its own agreement.

    benchmark  has the judge
    """

    benchmark: Benchmark

    def __call__(self, images: Tensor, cases: Sequence[PromptCase]) -> Tensor:
        judged = self.benchmark.with_cases(cases)
        for name, values in judged.values(images).items():
            if name.startswith("CLIP score"):
                return values
        marks = judged.marks(images)
        unknown = torch.full((len(images),), torch.nan)
        return marks.get("all", marks.get("right", unknown))


@dataclass(frozen=True)
class JudgeCaptions:
    """What the judge sees, in words: "a pig and a key, neon, blue background".

    benchmark  has the judge
    """

    benchmark: Benchmark

    def __call__(self, images: Tensor) -> list[str]:
        seen = getattr(self.benchmark, "_seen", None)
        if seen is not None:
            if getattr(self.benchmark, "judge", None) is None:
                return [""] * len(images)
            return [article(name) if name else "" for name in seen(images)]
        from ..emoji.judge import load_judge

        verdict = load_judge().look(images)
        captions = []
        for i in range(len(images)):
            places = dict.fromkeys(
                int(getattr(verdict, area)[i]) for area in ("whole", "left", "right")
            )
            words = [article(OBJECTS[k].word) for k in places if k < len(OBJECTS)]
            subject = " and ".join(words) or "something"
            style, colour = STYLES[int(verdict.style[i])], list(COLOURS)[int(verdict.colour[i])]
            captions.append(f"{subject}, {style}, {colour} background")
        return captions


def marks_of(
    benchmark: Benchmark, images: Tensor, cases: Sequence[PromptCase]
) -> dict[str, Tensor]:
    """The judge's marks of other cases than the benchmark's.

    Args:
        benchmark: Has the judge.
        images: [N, 3, H, W] in [0, 1].
        cases: N cases.
    """
    return benchmark.with_cases(cases).marks(images)


def bag_of_words(texts: Sequence[str]) -> Tensor:
    """Counts of the words of some texts, over all words that occur in them.

    Args:
        texts: N texts.

    Returns:
        [N, words]; the last column is 1 for a text without a word.
    """
    bags = []
    places: dict[str, int] = {}
    for text in texts:
        words = [word for word in re.findall(r"\w+", text.casefold()) if word not in EMPTY_WORDS]
        bags.append(words)
        for word in words:
            places.setdefault(word, len(places))
    counts = torch.zeros(len(texts), len(places) + 1)
    for row, words in enumerate(bags):
        for word in words:
            counts[row, places[word]] += 1
        if not words:
            counts[row, -1] = 1
    return counts
