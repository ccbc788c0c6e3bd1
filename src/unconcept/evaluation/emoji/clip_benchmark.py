"""Benchmark of `emoji-video`: clips with known answers, by the judges of frames and of motions."""

import logging
from typing import ClassVar

import torch
from torch import Tensor

from ...errors import InputError
from ...models.emoji.concepts import knows_motion
from ...models.emoji.motions import FRAMES, MOTIONS, PHRASES
from ...models.interface import Model
from ..benchmark import Judgement
from ..clip_benchmark import ERASED, ClipBenchmark, FrameLook
from .benchmark import EmojiBenchmark
from .cases import CaseWriter, EmojiCase
from .clip_cases import ClipCaseWriter, named_motion
from .motion_judge import NAMES, load_motion_judge, motion_quality
from .moving import visible_frames
from .rendering import SIZE

log = logging.getLogger(__name__)

SIDE = SIZE // 2  # pixels of a frame


class MovingEmojiPrompts(EmojiBenchmark):
    """Prompts for clips, and the judge of their frames; states `Benchmark` for frames."""

    writer_kind: ClassVar[type[CaseWriter]] = ClipCaseWriter


class EmojiClipBenchmark(ClipBenchmark):
    """Clips of moving emoji; states `Benchmark` for clips.

    Frames in which a drawing that grows or shrinks is too small for the judge of images do not
    count, nor those in which one that spins is not upright. Without the judge of motions, motions
    are not scored.
    """

    images: EmojiBenchmark

    def __init__(self, images: EmojiBenchmark):
        """Judge clips by their frames and their motion.

        Args:
            images: `MovingEmojiPrompts`, and the judge of frames.
        """
        super().__init__(images, FRAMES)
        self.motion_judge = None
        try:
            self.motion_judge = load_motion_judge()
        except InputError as error:
            if images.cases:
                log.warning("motions are not scored: %s", error)

    @property
    def judge_card(self) -> dict | None:
        """Held-out accuracy of both judges: {what: [share right, n]}."""
        card = dict(self.images.judge_card or {})
        if self.motion_judge is not None:
            for name in ("motions", "none of these"):
                if name in motion_quality():
                    card[f"clips, {name}"] = motion_quality()[name]
        return card

    def counted(self) -> Tensor:
        """Frames whose drawing the judge knows, large and upright: booleans [N, FRAMES]."""
        rows = [visible_frames(named_motion(case)) for case in self.images.cases]
        return torch.tensor(rows, dtype=torch.bool).view(len(rows), FRAMES)

    def marks(self, images: Tensor) -> dict[str, Tensor]:
        """The marks of clips.

        Args:
            images: Clips [N, FRAMES, 3, 64, 64] in [0, 1], one per case.

        Returns:
            [N] by name, as of `ClipBenchmark` and `EmojiBenchmark`; and for prompts about a motion
            "object" is what "right" is for all others, and "concept", "alternative" and "right"
            are about the motion. "motion": any other prompt's motion is seen.
        """
        marks = super().marks(images)
        marks["motion"] = torch.full((len(images),), torch.nan)
        for i, motion in enumerate(self.seen_motions(images)):
            for name, mark in self.motion_marks(self.images.cases[i], motion).items():
                marks[name][i] = mark
        return marks

    def judgements(self, images: Tensor) -> list[Judgement]:
        """The judges' answer for each clip, with those for its frames.

        Args:
            images: Clips [N, FRAMES, 3, 64, 64] in [0, 1], one per case.

        Returns:
            For a prompt about a motion the phrase of the motion that is seen; "" for none of them.
        """
        judgements = super().judgements(images)
        if self.motion_judge is None or not judgements:
            return judgements
        phrases = [MOTIONS[name][0] for name in NAMES]
        for i, row in enumerate(self.motion_judge.probabilities(images)):
            if self.about_motion(self.images.cases[i]):
                name = (*phrases, "")[int(row.argmax())]
                shown = dict(zip(phrases, row.tolist()))
                judgements[i] = Judgement(name, shown, judgements[i].frames)
        return judgements

    def _look(self, frames: Tensor) -> FrameLook:
        """Single frames do not tell a motion: there only the object can be seen."""
        look = super()._look(frames)
        about = torch.tensor([self.about_motion(case) for case in self.images.cases])[:, None]
        look.marks["object"] = look.marks["right"].where(about, torch.nan)
        for name in ("right", "all"):
            look.marks[name] = look.marks[name].where(~about, torch.nan)
        if all(knows_motion(concept) for concept in self.concepts):
            about = torch.ones_like(about)
        for name in ("concept", "alternative"):
            look.marks[name] = look.marks[name].where(~about, torch.nan)
        return look

    def about_motion(self, case: EmojiCase) -> bool:
        """Is a case about a motion, and not about an object or a style?

        Args:
            case: One of the benchmark's.
        """
        if case.name in PHRASES:
            return True
        # A prompt of the user's own names no concept: it is about all of them.
        return not case.name and all(knows_motion(concept) for concept in self.concepts)

    def motion_marks(self, case: EmojiCase, seen: str | None) -> dict[str, bool]:
        """The marks of a clip that the judge of motions sets.

        Args:
            case: Of the clip.
            seen: The motion that is seen, "" for none of them; None: there is no judge.
        """
        if seen is None:
            return {}
        concepts = [concept for concept in self.concepts if knows_motion(concept)]
        erased = [PHRASES[concept.erase] for concept in concepts]
        right = seen == named_motion(case)
        if not self.about_motion(case):
            marks = {"concept": True} if seen in erased else {}
            if erased and case.group not in ERASED:
                marks.setdefault("concept", False)
            return {**marks, "motion": right} if named_motion(case) else marks
        if case.group not in ERASED:
            return {"concept": seen in erased, "right": right}
        concepts = [concept for concept in concepts if case.name in (concept.erase, "")]
        marks = {"concept": seen in [PHRASES[concept.erase] for concept in concepts]}
        alternatives = [PHRASES.get(concept.alternative or "") for concept in concepts]
        if any(alternatives):
            marks["alternative"] = seen in alternatives
        return marks

    def seen_motions(self, clips: Tensor) -> list[str | None]:
        """The motion of every clip, "" for none of them; None without a judge of motions.

        Args:
            clips: [N, FRAMES, 3, 64, 64] in [0, 1].
        """
        if self.motion_judge is None or not len(clips):
            return [None] * len(clips)
        names = (*NAMES, "")
        return [names[k] for k in self.motion_judge.look(clips).tolist()]


def check_judged_size(model: Model) -> None:
    """Does the model sample clips that its judges were trained on?

    Args:
        model: `emoji-video`.

    Raises:
        InputError: Its clips have another length or size.
    """
    if (model.frames, *model.image_shape) != (FRAMES, SIDE, SIDE):
        raise InputError(
            f"the judges of this model know clips of {FRAMES} frames of {SIDE} x {SIDE} pixels: "
            "leave --frames, --height and --width away, or evaluate nothing (--extent none)"
        )
