"""The card in the header of an edit file, read from text that anybody may have written."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..concepts.concept import Concept
from ..errors import InputError


def read_card(text: str, file: Path) -> dict[str, Any]:
    """Read and check a card.

    Args:
        text: JSON, as `Edit.save` writes it.
        file: For the message.

    Returns:
        The card. Fields that it lacks stay lacking; each concept can be read (`Concept.read`).

    Raises:
        InputError: It is not JSON, or a field has another form than `Edit.save` gives it.
    """
    try:
        card = json.loads(text)
    except (ValueError, RecursionError):
        raise InputError(f"{file} is damaged: its card is not JSON") from None
    if not isinstance(card, dict):
        raise InputError(f"{file} is damaged: its card must hold keys and values")
    for name, fits in FORMS.items():
        if name in card and not fits(card[name]):
            raise InputError(f'{file} is damaged: "{name}" in its card has a form that is unknown')
    for concept in card.get("concepts", []):
        try:
            Concept.read(concept)
        except (TypeError, AttributeError) as error:
            raise InputError(f"{file} is damaged: a concept in its card: {error}") from error
    return card


def is_text(value: Any) -> bool:
    """Text, or nothing.

    Args:
        value: A field of a card, as JSON gives it.
    """
    return value is None or isinstance(value, str)


def is_list(value: Any) -> bool:
    """A list.

    Args:
        value: A field of a card, as JSON gives it; what the list holds is not looked at.
    """
    return isinstance(value, list)


def is_mapping(value: Any) -> bool:
    """Keys and values.

    Args:
        value: A field of a card, as JSON gives it; what is below the keys is not looked at.
    """
    return isinstance(value, Mapping)


def is_mapping_of_text(value: Any) -> bool:
    """Keys and texts.

    Args:
        value: A field of a card, as JSON gives it; None is not a text here.
    """
    return isinstance(value, Mapping) and all(isinstance(text, str) for text in value.values())


def is_mapping_of_numbers(value: Any) -> bool:
    """Keys and lists of finite numbers.

    Args:
        value: A field of a card, as JSON gives it; True and False are not numbers, nor are NaN and
            ∞.
    """
    if not isinstance(value, Mapping):
        return False
    for numbers in value.values():
        if not isinstance(numbers, list):
            return False
        for number in numbers:
            if isinstance(number, bool) or not isinstance(number, int | float):
                return False
            if not math.isfinite(number):
                return False
    return True


def is_number(value: Any) -> bool:
    """A finite number.

    Args:
        value: A field of a card, as JSON gives it; True and False are not numbers, nor are NaN and
            ∞.
    """
    is_plain = isinstance(value, int | float) and not isinstance(value, bool)
    return is_plain and math.isfinite(value)


FORMS = {
    "method": is_text,
    "settings": is_mapping,
    "concepts": is_list,
    "family": is_text,
    "model_sha256": is_text,
    "model_weights": is_mapping_of_numbers,
    "adapters": is_mapping_of_text,
    "training": is_mapping,
    "closed_form": is_mapping,
    "strength": is_number,
}
