"""The numbers that options take, and their ranges. Nothing here imports torch."""

import math
import operator
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from ..errors import InputError

SEEDS = 2**64  # how many seeds a generator takes: 0 to 2**64 - 1

MOST_IMAGES = 10_000

# A noise schedule has 1,000 steps, and sampling takes fewer.
MOST_SAMPLING_STEPS = 999

LARGEST_GUIDANCE = 100.0

LARGEST_STRENGTH = 10.0  # of an edit; 1 is what was trained

LARGEST_RANK = 65_536

MANY = 10**9

ABOVE_0 = math.ulp(0.0)  # the smallest number above 0


@dataclass(frozen=True)
class Range:
    """What a number may be.

    low    at least
    high   at most
    whole  whether it must be a whole number
    words  the range, for the error
    """

    low: float
    high: float
    whole: bool
    words: str


RANGES = {
    "seed": Range(0, SEEDS - 1, True, f"a whole number from 0 to {SEEDS - 1} (2^64 - 1)"),
    "images": Range(1, MOST_IMAGES, True, f"a whole number from 1 to {MOST_IMAGES}"),
    "steps": Range(1, MOST_SAMPLING_STEPS, True, f"a whole number from 1 to {MOST_SAMPLING_STEPS}"),
    "guidance": Range(
        -LARGEST_GUIDANCE,
        LARGEST_GUIDANCE,
        False,
        f"a number from -{LARGEST_GUIDANCE:g} to {LARGEST_GUIDANCE:g}",
    ),
    "rank": Range(1, LARGEST_RANK, True, f"a whole number from 1 to {LARGEST_RANK}"),
    "strength": Range(ABOVE_0, 1, False, "above 0 and at most 1"),
    "edit_strength": Range(0, LARGEST_STRENGTH, False, f"a number from 0 to {LARGEST_STRENGTH:g}"),
    "save_every": Range(0, MANY, True, "a whole number, 0 or more"),
    "sample_every": Range(0, MANY, True, "a whole number, 0 or more"),
}

COUNT = Range(1, MANY, True, "a whole number, 1 or more")

RATE = Range(ABOVE_0, MANY, False, "above 0")

WEIGHT = Range(0, MANY, False, "0 or more")

SHARE = Range(0, 1, False, "from 0 to 1")

# Hyperparameters that mean the same in every method that has them.
SETTINGS = {
    "seed": RANGES["seed"],
    "sampling_steps": RANGES["steps"],
    "guidance": RANGES["guidance"],
    "rank": RANGES["rank"],
    **dict.fromkeys(("batch", "batch_size", "images", "anchors", "tokens", "prompts"), COUNT),
    **dict.fromkeys(("features", "active", "top", "attacks", "rounds"), COUNT),
    **dict.fromkeys(("lr", "attack_lr", "clip"), RATE),
    **dict.fromkeys(("lam", "rho", "erase", "preserve", "weight_decay", "decay"), WEIGHT),
    **dict.fromkeys(("onset", "average"), SHARE),
}


def check_numbers(**values: Any) -> None:
    """Refuse numbers out of range.

    Args:
        **values: By a key of RANGES; None is fine.

    Raises:
        InputError: A value is out of its range, is not finite, or is not a whole number where one
            is needed.
    """
    for name, value in values.items():
        if value is not None and not _fits(RANGES[name], value):
            label = name.replace("_", "-").removeprefix("edit-")
            raise InputError(f"{label} is {value}: it must be {RANGES[name].words}")


def check_seeds(seed: int, count: int) -> None:
    """Refuse a first seed from which some others cannot be counted up.

    Args:
        seed: The first one.
        count: How many are used.

    Raises:
        InputError: One of them is out of range.
    """
    check_numbers(seed=seed)
    if seed + count > SEEDS:
        raise InputError(
            f"seed is {seed}: for {count} images it must be at most {SEEDS - count}, "
            "because the others are counted up from it"
        )


def _fits(allowed: Range, value: Any) -> bool:
    if isinstance(value, bool):
        return False
    if allowed.whole:
        try:
            value = operator.index(value)
        except TypeError:
            return False
    elif not isinstance(value, int | float) or not math.isfinite(value):
        return False
    return allowed.low <= value <= allowed.high


def check_settings(settings: Any, where: str = "the settings") -> None:
    """Refuse hyperparameters that are not numbers, and sampling that cannot be done.

    Args:
        settings: A dataclass of hyperparameters, with others in it; anything else is passed.
        where: What they are, for the error.

    Raises:
        InputError: A field is NaN or infinite, or out of its range.
    """
    if not is_dataclass(settings):  # a method may be any callable
        return
    for field in fields(settings):
        value = getattr(settings, field.name)
        if is_dataclass(value):
            check_settings(value, f"{where} / {field.name}")
            continue
        if isinstance(value, float) and not math.isfinite(value):
            raise InputError(f'"{field.name}" in {where} is {value}: it must be a finite number')
        allowed = SETTINGS.get(field.name)
        if field.name == "steps" and not hasattr(settings, "held_out"):
            allowed = COUNT  # of a training that may not be left out; Tune checks its own
        if allowed and isinstance(value, int | float) and not _fits(allowed, value):
            raise InputError(f'"{field.name}" in {where} is {value}: it must be {allowed.words}')


def whole_number(kind: Any, tokens: Sequence[Any]) -> int:
    """Read a whole number of the command line as it stands: 1.5 is not rounded.

    Args:
        kind: The option's type.
        tokens: What was typed, with its text in `value`.

    Raises:
        ValueError: It is not a whole number.
    """
    text = tokens[0].value.strip()
    if not re.fullmatch(r"[+-]?[0-9]+", text, re.ASCII):
        raise ValueError(f'"{tokens[0].value}" is not a whole number')
    return int(text)
