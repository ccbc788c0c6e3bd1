"""Benchmark of the embedded models: prompts with known answers, and marks by a trained judge."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from ...concepts.concept import Concept
from ...models.emoji.vocabulary import COLOURFUL, COLOURS, OBJECTS, STYLES, WORDS, find
from ..benchmark import Judgement, OtherCases
from ..prompt_benchmark import LIKELIEST
from .cases import CaseWriter, EmojiCase, concept_called
from .judge import Verdict, load_judge, quality
from .marks import ERASED, MARKS, Marker, Sight


class EmojiBenchmark(OtherCases):
    """Prompts about several concepts at once, with known answers; states `Benchmark`."""

    writer_kind: ClassVar[type[CaseWriter]] = CaseWriter

    def __init__(
        self,
        concepts: Sequence[Concept],
        n: Mapping[str, int],
        seed: int = 0,
        added: Sequence[EmojiCase] = (),
        likely: Sequence[str] = (),
    ):
        """Draw the prompts.

        Args:
            concepts: Completed concepts that are erased.
            n: Number of prompts by group; a group without any possible prompt stays empty.
            seed: Of the prompts.
            added: The user's own prompts, added to them.
            likely: Words that count as near neighbours besides those of the table, such as those
                near in the text encoder's space.
        """
        self.concepts = tuple(concepts)
        self.seed = seed
        self.writer = self.writer_kind(concepts, seed, likely)
        self.marker = Marker(concepts)
        self.cases = [*self.writer.write(n), *added]
        self._verdicts = WeakIdKeyDictionary()  # the judge's, by the tensor of images

    @property
    def judge_card(self) -> dict | None:
        """Held-out accuracy of the judge: {what: [share right, n]}."""
        return quality()["judge"]

    def real(self, group: str) -> Tensor:
        """Rendered images of what a group's prompts should show.

        For a prompt of the erased concept that is the alternative, or anything where there is none.

        Args:
            group: One of `benchmark.GROUPS`.

        Returns:
            [N, 3, 64, 64] in [0, 1], one per case of the group, the same ones every time.
        """
        from .rendering import LABELS, ONE_HAND, render_image

        rng = np.random.default_rng([11, self.seed])
        images = []
        free = self.writer.free
        for case in self.cases:
            if case.group != group:
                continue
            thing, style = self._expected(case)
            if thing < 0:
                thing = OBJECTS.index(free[int(rng.integers(len(free)))])
            if style < 0:
                style = int(rng.integers(2))
            colour = int(rng.integers(len(COLOURS))) if case.colour < 0 else case.colour
            if STYLES[style] not in COLOURFUL:
                colour = 0
            label: Any = np.array((thing, case.other, style, colour), LABELS)
            images.append(render_image(label[()], rng, ONE_HAND, aligned=True))
        if not images:
            return torch.zeros(0, 3, 64, 64)
        return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255

    def _expected(self, case: EmojiCase) -> tuple[int, int]:
        """(object, style) that an image should show after the erasure; -1: any."""
        if case.group not in ERASED:
            return case.object, case.style
        concept = concept_called(case.name, self.concepts)
        alternative = (concept.alternative if concept else None) or ""
        if concept and concept.kind == "style":
            return case.object, STYLES.index(alternative) if alternative in STYLES else -1
        thing = find(alternative)
        return OBJECTS.index(thing) if thing else -1, case.style

    def verdict(self, images: Tensor) -> Verdict:
        """What the judge sees; each tensor of images is judged once.

        Args:
            images: [N, 3, 64, 64] in [0, 1].
        """
        if images not in self._verdicts:
            self._verdicts[images] = load_judge().look(images)
        return self._verdicts[images]

    def marks(self, images: Tensor) -> dict[str, Tensor]:
        """The judge's marks.

        concept      what should be erased is seen, or only suspected, whatever was prompted for
        alternative  the alternative is seen
        right        what was prompted for is seen: the style for a style, else the object
        other        of a scene: the second object is seen
        style        the prompted style is seen
        background   the prompted background colour is seen
        all          everything is seen that the prompt names, except what is erased

        Args:
            images: [N, 3, 64, 64] in [0, 1], one per case.

        Returns:
            [N] by name: 0, 1, or NaN where a mark does not apply.
        """
        verdict = self.verdict(images)
        marks = {name: torch.full((len(self.cases),), math.nan) for name in MARKS}
        for i, case in enumerate(self.cases):
            sight = Sight.of(verdict, i, scene=case.other >= 0)
            for name, mark in self.marker.marks_of(case, sight).items():
                marks[name][i] = mark
        return marks

    def judgements(self, images: Tensor) -> list[Judgement]:
        """The judge's answer for each image.

        Args:
            images: [N, 3, 64, 64] in [0, 1], one per case.

        Returns:
            N judgements. A prompt about a style is judged by its style, and a scene by the objects
            of both halves, "cow + house". Probabilities are of the whole image.
        """
        verdict = self.verdict(images)
        judgements = []
        for i, case in enumerate(self.cases):
            sight = Sight.of(verdict, i, scene=case.other >= 0)
            if case.name in STYLES:
                names, probabilities = STYLES, verdict.styles[i]
                name = sight.style
            else:
                names, probabilities = tuple(WORDS), verdict.objects[i]
                seen = [OBJECTS[k].word for k in sorted(sight.objects) if k < len(OBJECTS)]
                name = " + ".join(seen)
            chosen = dict.fromkeys(probabilities[: len(names)].topk(LIKELIEST).indices.tolist())
            for word in self._words_of(case):
                if word in names:
                    chosen[names.index(word)] = None
            shown = {names[k]: probabilities[k].item() for k in chosen}
            judgements.append(Judgement(name, shown))
        return judgements

    def _words_of(self, case: EmojiCase) -> list[str]:
        """Words whose probabilities are recorded for an image."""
        words = [case.name]
        for concept in self.concepts:
            words += [concept.erase, concept.alternative or ""]
        if case.object >= 0:
            words.append(OBJECTS[case.object].word)
        return words

    def values(self, images: Tensor) -> dict[str, Tensor]:
        """How sure the judge is of what it sees: low for images that fell apart.

        Args:
            images: [N, 3, 64, 64] in [0, 1], one per case.

        Returns:
            The largest probability of any object [N] in [0, 1], by name.
        """
        objects = self.verdict(images).objects
        return {"confidence of the judge": objects[:, :-1].amax(1)}
