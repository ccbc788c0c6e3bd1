"""The floor of an attack: a model that never knew the concept."""

import json
from dataclasses import replace
from pathlib import Path

from ..concepts.concept import Concept
from ..errors import InputError
from ..io.weights import user_cache
from ..models.interface import Model
from ..models.loading import load
from .options import AttackOptions

FLOOR = "emoji-unaware"  # the folder in the user's cache that holds the floor of the embedded model


def load_floor(run: AttackOptions, concept: Concept, model: Model) -> tuple[Model | None, str]:
    """The model that never knew the concept.

    Args:
        run: Names its folder, or does not.
        concept: The concept.
        model: That is attacked; the floor must sample what it samples.

    Returns:
        (model, ""), or (None, reason).

    Raises:
        InputError: The named folder is not such a model.
    """
    folder = run.floor
    if folder is None:
        folder = user_cache() / FLOOR
        if run.source.model != "emoji" or not folder.is_dir():
            return None, "no model that never knew the concept was given (--floor)"
    without = trained_without(folder)
    if without is not None and concept.erase not in without:
        reason = f"{folder} was trained without {', '.join(without)}, but with {concept.erase}"
        if run.floor is not None:
            raise InputError(f"{reason}: it is not a floor for this concept")
        return None, reason
    floor = load(replace(run.source, model=str(folder), revision=None, variant=None))
    if (floor.frames, *floor.image_shape) != (model.frames, *model.image_shape):
        raise InputError(f"{folder} samples {size_of(floor)}, and the model {size_of(model)}")
    return floor, ""


def size_of(model: Model) -> str:
    """What a model samples: "images of 64 x 64 pixels".

    Args:
        model: Of images or clips.
    """
    height, width = model.image_shape
    what = f"clips of {model.frames} frames" if model.frames else "images"
    return f"{what} of {height} x {width} pixels"


def trained_without(folder: Path) -> list[str] | None:
    """The concepts that a model of `pretraining --without` never saw; None for any other folder.

    Args:
        folder: Any folder; the names are read from its quality.json.
    """
    file = folder / "quality.json"
    try:
        return list(json.loads(file.read_text(encoding="utf-8"))["without"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
