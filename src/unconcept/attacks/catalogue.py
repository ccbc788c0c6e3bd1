"""The table of attacks that the command line reads. torch is imported when one is looked up."""

import difflib
import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ..errors import InputError

# Settings of an attack: `small` fits the embedded models and an evening on others, `paper` has the
# authors' own defaults.
Budget = Literal["small", "paper"]


@dataclass(frozen=True)
class Entry:
    """An attack by name.

    module  in this package
    type    the class in it
    small   its settings with the small budget; all others are the authors'
    paper   settings that name a variant of the authors
    clips   settings for clips with the small budget, besides `small`: a clip takes as much memory
            as its frames
    """

    module: str
    type: str
    small: Mapping[str, Any]
    paper: Mapping[str, Any]
    clips: Mapping[str, Any] = field(default_factory=dict)


ANY_WORDS = ("concept", "empty", "alternative")

ATTACKS: Mapping[str, Entry] = {
    "standard": Entry("words", "Standard", {}, {}),
    "paraphrase": Entry("words", "Paraphrase", {}, {}),
    "implied": Entry("words", "Implied", {}, {}),
    "cce": Entry(
        "textual_inversion",
        "TextualInversion",
        dict(steps=200, batch=8, lr=0.05),
        {},
        clips=dict(batch=4),
    ),
    "probe": Entry("probe", "Probe", dict(steps=200, batch=4), {}),
    "relearning": Entry(
        "relearning",
        "Relearning",
        dict(marks=(10, 40), lr=1e-3, batch=8),
        dict(batch=4),
        clips=dict(batch=2),
    ),
    "learned-states": Entry(
        "learned_states", "LearnedStates", dict(steps=80, batch=8), {}, clips=dict(batch=2)
    ),
    "inversion": Entry("inversion", "Inversion", dict(steps=15), {}),
    "tracing": Entry("strength_tracing", "StrengthTracing", {}, {}),
    "completion": Entry(
        "completion", "Completion", dict(shares=(0.2, 0.4), words=("concept", "empty")), {}
    ),
    "inpainting": Entry("inpainting", "Inpainting", dict(words=ANY_WORDS), {}),
    "reference-image": Entry(
        "reference_image",
        "ReferenceImage",
        dict(strengths=(0.6,), words=ANY_WORDS, timesteps=0),
        {},
    ),
    "noise": Entry("noise", "Noise", dict(etas=(1.0, 1.34, 1.68), scales=(1.0, 1.04)), {}),
    "classifier-guidance": Entry(
        "classifier_guidance",
        "ClassifierGuidance",
        dict(scales=(5.0, 20.0, 80.0), etas=(0.0,), steps=600, lr=1e-3),
        {},
    ),
    "unlearn-diff": Entry(
        "unlearn_diff", "UnlearnDiffAtk", dict(timesteps=10, iterations=20, batch=8), {}
    ),
    "p4d-n": Entry("p4d", "P4D", dict(tokens=4, steps=150, batch=8, every=25), {}),
    "p4d-k": Entry("p4d", "P4DK", dict(tokens=4, steps=150, batch=8, every=25), {}),
    "ring-a-bell": Entry(
        "ring_a_bell",
        "RingABell",
        dict(tokens=4, population=60, generations=60, eta=1.0),
        {},
    ),
    "mma": Entry("mma", "MMA", dict(tokens=6, steps=30, candidates=64), {}),
}

# Those that tell erasures apart, in the order in which they are run.
QUICK = ("standard", "paraphrase", "implied", "cce", "relearning", "learned-states", "inversion")


# The same for text-to-video models.
QUICK_CLIPS = (
    "standard",
    "paraphrase",
    "implied",
    "cce",
    "probe",
    "relearning",
    "learned-states",
)


def names_of(attacks: str, clips: bool = False) -> tuple[str, ...]:
    """The attacks that `--attacks` names.

    Args:
        attacks: "quick", "all", or names with commas.
        clips: Is a text-to-video model attacked?

    Returns:
        Names in ATTACKS; "standard" is always the first, because every other row needs it.

    Raises:
        InputError: There is no such attack.
    """
    if attacks == "quick":
        return QUICK_CLIPS if clips else QUICK
    if attacks == "all":
        return tuple(ATTACKS)
    names = dict.fromkeys(["standard"])
    for part in attacks.split(","):
        name = part.strip()
        if name not in ATTACKS:
            near = difflib.get_close_matches(name, ATTACKS, 1)
            hint = f'did you mean "{near[0]}"? ' if near else ""
            raise InputError(
                f'unknown attack "{name}": {hint}One of quick, all, {", ".join(ATTACKS)}'
            )
        names[name] = None
    return tuple(names)


def build(name: str, budget: Budget = "small", clips: bool = False) -> Any:
    """An attack with its settings.

    Args:
        name: In ATTACKS.
        budget: Whose settings.
        clips: Is a text-to-video model attacked?

    Returns:
        An `Attack`.
    """
    entry = ATTACKS[name]
    module = importlib.import_module(f".{entry.module}", __package__)
    settings = dict(entry.small if budget == "small" else entry.paper)
    if clips and budget == "small":
        settings |= entry.clips
    return getattr(module, entry.type)(**settings)
