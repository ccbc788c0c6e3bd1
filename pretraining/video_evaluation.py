"""How good `emoji-video` is: clips of known prompts, marked by the judges of images and of motions.

A clip counts by its share of right frames; frames in which a drawing that grows or shrinks is too
small for the judge of images are left out. Real clips are marked in the same way, as the ceiling.
The control is the image model on eight independent noises: an object has one drawing in this world,
so that its frames agree as well, and only the motion tells a video model from it.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unconcept.concepts.templates import article
from unconcept.evaluation.clips import flicker, mean_over_clips, share_of_frames
from unconcept.evaluation.emoji.judge import load_judge
from unconcept.evaluation.emoji.motion_judge import NAMES, load_motion_judge
from unconcept.evaluation.emoji.moving import render_clip, visible_frames
from unconcept.evaluation.metrics.proportions import proportion
from unconcept.models.emoji.motions import MOTIONS, ROUND, with_motion
from unconcept.models.emoji.vocabulary import COLOURS, OBJECTS
from unconcept.models.sampling import Sampling

from .captions import COLOUR_NAMES


@dataclass(frozen=True)
class Case:
    """A prompt and what its clip must show, as indices into OBJECTS, MOTIONS and COLOURS."""

    thing: int
    motion: int
    colour: int

    @property
    def prompt(self) -> str:
        word = article(OBJECTS[self.thing].word)
        colour = article(COLOUR_NAMES[self.colour])
        return with_motion(f"{word} on {colour} background", NAMES[self.motion])

    def visible(self) -> Tensor:
        """[FRAMES] is the drawing large enough for the judge of images?"""
        return torch.tensor(visible_frames(NAMES[self.motion]))


def draw_cases(n: int, motions: Sequence[str], seed: int = 7) -> list[Case]:
    """Prompts of every motion in turn, with random objects and backgrounds."""
    rng = np.random.default_rng(seed)
    cases: list[Case] = []
    while len(cases) < n:
        motion = NAMES.index(motions[len(cases) % len(motions)])
        thing, colour = int(rng.integers(len(OBJECTS))), int(rng.integers(len(COLOURS)))
        if NAMES[motion] != "spin" or OBJECTS[thing].word not in ROUND:
            cases.append(Case(thing, motion, colour))
    return cases


def mark(cases: Sequence[Case], clips: Tensor) -> dict[str, Any]:
    """What the judges see in clips.

    Args:
        cases: N of them.
        clips: [N, FRAMES, 3, 64, 64] in [0, 1].

    Returns:
        Entries {value, n, ci95}, intervals over clips: "object" and "background" are mean shares
        of frames; "motion" is the share of clips, for all and for each motion.
    """
    verdict = load_judge().look(clips.flatten(0, 1))
    objects = verdict.guess["whole"].unflatten(0, clips.shape[:2])
    colours = verdict.colour.unflatten(0, clips.shape[:2])
    motions = load_motion_judge().look(clips)
    things = torch.tensor([case.thing for case in cases])
    backgrounds = torch.tensor([case.colour for case in cases])
    visible = torch.stack([case.visible() for case in cases])
    shown = (objects == things[:, None]).float().where(visible, torch.nan)
    on_background = (colours == backgrounds[:, None]).float()
    right = motions == torch.tensor([case.motion for case in cases])
    by_motion = {}
    for i, name in enumerate(NAMES):
        of_motion = torch.tensor([case.motion == i for case in cases])
        if of_motion.any():
            by_motion[name] = proportion(right[of_motion].float())
    return {
        "object": mean_over_clips(share_of_frames(shown)),
        "background": mean_over_clips(share_of_frames(on_background)),
        "motion": proportion(right.float()),
        "motion of": by_motion,
        "flicker": mean_over_clips(flicker(clips)),
        "seen": [NAMES[k] if k < len(NAMES) else "none" for k in motions.tolist()],
    }


def real_clips(cases: Sequence[Case]) -> Tensor:
    """[N, FRAMES, 3, 64, 64] in [0, 1], drawn from the atlas."""
    rng = np.random.default_rng(11)
    clips = [render_clip(case.thing, NAMES[case.motion], case.colour, rng) for case in cases]
    return torch.from_numpy(np.stack(clips)).permute(0, 1, 4, 2, 3).float() / 255


def sample(model: Any, cases: Sequence[Case], sampling: Sampling, batch: int = 4) -> Tensor:
    """[N, FRAMES, 3, 64, 64] in [0, 1], sampled by a video model."""
    clips = []
    for first in range(0, len(cases), batch):
        part = cases[first : first + batch]
        seeds = range(first, first + len(part))
        latents = model.sample([case.prompt for case in part], seeds, sampling)
        clips.append(model.decode(latents))
    return torch.cat(clips)


def measure(model: Any, n: int, motions: Sequence[str] = tuple(MOTIONS), steps: int = 25) -> dict:
    """Marks of sampled clips and, beside them, of real ones.

    Args:
        model: `emoji-video`.
        n: Clips, of every motion in turn.
        motions: Which motions.
        steps: Sampling steps.
    """
    cases = draw_cases(n, motions)
    sampling = Sampling(steps=steps, guidance=model.guidance)
    return {
        "sampled": mark(cases, sample(model, cases, sampling)),
        "real": mark(cases, real_clips(cases)),
        "clips": n,
        "sampling": asdict(sampling),
    }
