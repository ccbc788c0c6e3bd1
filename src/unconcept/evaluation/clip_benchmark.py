"""The benchmark of a text-to-video model: to the judge of images a clip is a batch of frames.

The marks of frames [N, F] become one mark for each clip: the concept is seen in a clip that shows
it in any frame; everything else is right in a clip that shows it in most frames. Shares of clips
and their intervals then are those of images. Only frames that must show something count.
"""

import copy
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from ..concepts.concept import Concept
from .benchmark import Benchmark, Judgement, PromptCase, part_of
from .clips import (
    LATE,
    first_frame,
    flicker,
    last_frame,
    mean_over_clips,
    returns_late,
    seen_in_any,
    seen_in_most,
    share_of_frames,
    subject_consistency,
)
from .features import Features
from .scores import BETTER, Score, Scores

ERASED = ("target", "synonym", "implied")  # groups whose prompts are about what is erased

SHARE_OF_FRAMES = ", share of frames"  # after the name of a mark

SHARED = (
    "concept",
    "alternative",
    "right",
    "object",
)  # marks whose share of frames is scored as well

SWITCHES = "identity switches per clip"

FLICKER = "flicker, 1 - L1 between frames"


@dataclass(frozen=True)
class FrameLook:
    """What the judge of images sees in the frames of N clips; all empty without a judge.

    marks       by name [N, F] of 0, 1 or NaN
    judgements  of every clip those of its frames
    values      by name [N, F]
    """

    marks: dict[str, Tensor]
    judgements: list[list[Judgement]]
    values: dict[str, Tensor]


class ClipBenchmark:
    """A benchmark of images whose prompts are sampled as clips; states `Benchmark` for clips."""

    def __init__(self, images: Benchmark, frames: int):
        """Judge clips by their frames.

        Args:
            images: Its prompts, and a judge of images.
            frames: Of a clip.
        """
        self.images = images
        self.frames = frames
        self._looks = WeakIdKeyDictionary()  # by the tensor of clips

    @property
    def concepts(self) -> Sequence[Concept]:
        """The concepts that are erased."""
        return self.images.concepts

    @property
    def cases(self) -> Sequence[PromptCase]:
        """The prompts."""
        return self.images.cases

    @property
    def judge_card(self) -> dict | None:
        """The judge's entry in report.json; None without a judge."""
        return self.images.judge_card

    def with_cases(self, cases: Sequence[PromptCase]) -> "ClipBenchmark":
        """The same concepts and the same judge with other prompts.

        Args:
            cases: Of its kind, any number.
        """
        other = copy.copy(self)
        other.images = self.images.with_cases(cases)
        other._looks = WeakIdKeyDictionary()
        return other

    def counted(self) -> Tensor:
        """Which frames must show what the prompt names: booleans [N, F], here all of them."""
        return torch.ones(len(self.cases), self.frames, dtype=torch.bool)

    def look(self, clips: Tensor) -> FrameLook:
        """Ask the judge of images about every frame, once for a tensor of clips.

        Args:
            clips: [N, F, 3, H, W] in [0, 1], one per case.

        Returns:
            The marks of frames that do not count are NaN.
        """
        if clips not in self._looks:
            self._looks[clips] = self._look(clips.flatten(0, 1))
        return self._looks[clips]

    def _look(self, frames: Tensor) -> FrameLook:
        shape = (len(self.cases), self.frames)
        places = torch.arange(len(self.cases)).repeat_interleave(self.frames)
        by_frame = part_of(self.images, places.tolist())
        counted = self.counted()
        marks = {}
        for name, values in by_frame.marks(frames).items():
            marks[name] = values.unflatten(0, shape).where(counted, torch.nan)
        values = {}
        for name, some in by_frame.values(frames).items():
            values[name] = some.unflatten(0, shape)
        answers = by_frame.judgements(frames)
        starts = range(0, len(answers), self.frames)
        judgements = [answers[start : start + self.frames] for start in starts]
        return FrameLook(marks, judgements, values)

    def marks(self, images: Tensor) -> dict[str, Tensor]:
        """The marks of clips.

        Args:
            images: Clips [N, F, 3, H, W] in [0, 1], one per case.

        Returns:
            [N] by name. "concept": seen in any frame; "late return": the concept is seen in the
            last third of the frames and not in the first; all others: seen in most frames.
        """
        marks = {}
        for name, frames in self.look(images).marks.items():
            marks[name] = seen_in_any(frames) if name == "concept" else seen_in_most(frames)
        if "concept" in marks and self.frames >= LATE:
            frames = self.look(images).marks["concept"]
            about = torch.tensor([case.group in ERASED for case in self.cases])
            applies = about & ~marks["concept"].isnan()
            marks["late return"] = returns_late(frames).where(applies, torch.nan)
        return marks

    def judgements(self, images: Tensor) -> list[Judgement]:
        """The judge's answer for each clip, with those for its frames.

        Args:
            images: Clips [N, F, 3, H, W] in [0, 1], one per case.
        """
        return [of_clip(frames) for frames in self.look(images).judgements]

    def values(self, images: Tensor) -> dict[str, Tensor]:
        """Means over the frames that count of the other numbers of the judge of images.

        Args:
            images: Clips [N, F, 3, H, W] in [0, 1], one per case.

        Returns:
            [N] by name.
        """
        means = {}
        for name, values in self.look(images).values.items():
            means[name] = values.where(self.counted(), torch.nan).nanmean(1)
        return means

    def real(self, group: str) -> Tensor | None:
        """Real clips are not known: None.

        Args:
            group: One of `benchmark.GROUPS`.
        """
        return None


def of_clip(frames: Sequence[Judgement]) -> Judgement:
    """One answer for a clip.

    Args:
        frames: The answers for its frames.

    Returns:
        The name that most frames show, and the mean probabilities of the names that every frame
        states.
    """
    name = Counter(frame.name for frame in frames).most_common(1)[0][0]
    means = {}
    for word in frames[0].probabilities:
        values = [frame.probabilities[word] for frame in frames if word in frame.probabilities]
        if len(values) == len(frames):
            means[word] = sum(values) / len(values)
    return Judgement(name, means, tuple(frames))


def clip_scores(
    benchmark: ClipBenchmark, before: Tensor, after: Tensor, features: Features | None = None
) -> Scores:
    """What is measured of clips alone; every score is a mean over clips.

    Args:
        benchmark: Its cases have N clips each in `before` and `after`, in their order.
        before: Clips [N, F, 3, H, W] in [0, 1] of the model without the edit.
        after: Clips of the same prompts and seeds with the edit.
        features: For the consistency of the subject; None leaves that out.

    Returns:
        For each group: shares of frames, the first and the last frame of the concept, identity
        switches, flicker, and consistency.
    """
    earlier, now = (clip_values(benchmark, clips, features) for clips in (before, after))
    scores = Scores()
    for group in dict.fromkeys(case.group for case in benchmark.cases):
        members = torch.tensor([case.group == group for case in benchmark.cases])
        for name, (values, better) in now.items():
            then = mean_over_clips(earlier[name][0][members])
            mean = mean_over_clips(values[members])
            if mean:
                scores.append(
                    Score(
                        name=name,
                        group=group,
                        before=then["value"] if then else None,
                        after=mean["value"],
                        n=mean["n"],
                        ci95=mean["ci95"],
                        better=better,
                    )
                )
    return scores


def clip_values(
    benchmark: ClipBenchmark, clips: Tensor, features: Features | None
) -> dict[str, tuple[Tensor, str | None]]:
    """The numbers behind `clip_scores`.

    Args:
        benchmark: Its cases belong to the clips.
        clips: [N, F, 3, H, W] in [0, 1].
        features: For the consistency of the subject; None leaves that out.

    Returns:
        By name: one number for each clip [N], NaN where it does not apply, and which direction is
        better.
    """
    look = benchmark.look(clips)
    values: dict[str, tuple[Tensor, str | None]] = {}
    about = torch.tensor([[case.group in ERASED] for case in benchmark.cases])
    for name in SHARED:
        if name in look.marks:
            marks = look.marks[name]
            if name == "right":  # what is right there is what is erased
                marks = marks.where(~about, torch.nan)
            values[name + SHARE_OF_FRAMES] = (share_of_frames(marks), BETTER[name])
    if "concept" in look.marks:
        concept = look.marks["concept"].where(about, torch.nan)
        values["concept, first frame"] = (first_frame(concept) + 1, None)
        values["concept, last frame"] = (last_frame(concept) + 1, None)
    if look.judgements and benchmark.frames > 1:
        values[SWITCHES] = (switches(look.judgements, benchmark.counted()), "lower")
    if benchmark.frames > 1:
        values[FLICKER] = (flicker(clips), None)
        if features is not None:
            name = f"subject consistency, {features.name}"
            values[name] = (subject_consistency(clips, features), "higher")
    return values


def switches(judgements: Sequence[Sequence[Judgement]], counted: Tensor) -> Tensor:
    """How often the judge sees something else than in the frame before.

    Args:
        judgements: Of N clips those of their F frames.
        counted: Which frames count, booleans [N, F]; the others are passed over.

    Returns:
        [N] from 0 to F - 1; NaN where fewer than two frames count.
    """
    numbers = []
    for frames, counts in zip(judgements, counted.tolist()):
        names = [frame.name for frame, counts_here in zip(frames, counts) if counts_here]
        changes = sum(name != following for name, following in pairwise(names))
        numbers.append(float(changes) if len(names) > 1 else math.nan)
    return torch.tensor(numbers)
