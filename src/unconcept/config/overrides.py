"""Settings from a YAML file into frozen dataclasses; for a wrong key the nearest one is named."""

import contextlib
import difflib
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from ..errors import InputError, brief

T = TypeVar("T")

# Keys of earlier versions, by the class that has them now: files that use them are still read.
RENAMED_KEYS = {
    "AllButOne": {"keep": "rho"},
    "ConceptAblation": {"batch": "batch_size", "pictures": "images"},
    "SAE": {"batch": "batch_size"},
    "Tune": {
        "batch": "batch_size",
        "parts": "gradient_accumulation",
        "checkpointing": "gradient_checkpointing",
        "eight_bit": "adam_8bit",
    },
}

TYPE_NAMES = {float: "a number", int: "a whole number", bool: "true or false", str: "words"}


def read_yaml(path: Path) -> dict:
    """Read a YAML file of keys and values.

    Args:
        path: The file.

    Returns:
        Its content.

    Raises:
        InputError: It does not exist, cannot be read, or does not hold keys and values.
    """
    import yaml

    from .yaml_files import load_yaml

    try:
        content = load_yaml(path.read_bytes())
    except FileNotFoundError:
        raise InputError(f"the settings file {path} does not exist") from None
    except IsADirectoryError:
        raise InputError(
            f"the settings file {path} is a folder: name the .yaml file in it"
        ) from None
    except OSError as error:
        raise InputError(
            f"the settings file {path} cannot be read: {error.strerror or error}"
        ) from error
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path} is not a YAML file: {reason}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} must hold keys and values, like   lam: 2.0")
    return content


def check_keys(settings: Mapping, allowed: list[str], where: str) -> None:
    """Check that all keys of a mapping are known.

    Args:
        settings: The mapping.
        allowed: The known keys.
        where: What the mapping is, for the error.

    Raises:
        InputError: A key is unknown; the error names the most similar one.
    """
    for key in settings:
        if key not in allowed:
            similar = difflib.get_close_matches(str(key), allowed, 1, 0.4)
            hint = f"allowed: {', '.join(allowed)}"
            if similar:
                hint = f'did you mean "{similar[0]}"?'
            raise InputError(f'unknown key "{key}" in {where}: {hint}')


def override(value: T, settings: Mapping, where: str) -> T:
    """Replace fields of a dataclass, and of dataclasses within it.

    Args:
        value: The dataclass; it is not changed.
        settings: New values by the field's name; a nested mapping for a nested dataclass.
        where: What the settings are, for errors.

    Returns:
        The dataclass with the new values.

    Raises:
        InputError: A key is unknown, or a value is not of the field's type.
    """
    types = get_type_hints(type(value))
    renamed = RENAMED_KEYS.get(type(value).__name__, {})
    for old_key, new_key in renamed.items():
        if old_key in settings and new_key in settings:
            raise InputError(f'"{old_key}" and "{new_key}" in {where} are the same: keep one')
    settings = {renamed.get(key, key): new for key, new in settings.items()}
    check_keys(settings, [field.name for field in fields(value)], where)  # type: ignore[arg-type]
    changes = {}
    for key, new in settings.items():
        old = getattr(value, key)
        if is_dataclass(old):
            if not isinstance(new, Mapping):
                nested_keys = ", ".join(field.name for field in fields(old))
                raise InputError(f'"{key}" in {where} must hold keys and values: {nested_keys}')
            changes[key] = override(old, new, f"{where} / {key}")
            continue
        try:
            changes[key] = convert(types[key], new)
        except TypeError as error:
            raise InputError(
                f'"{key}" in {where} is {brief(new)}; expected {error}, like {old!r}'
            ) from None
    return replace(value, **changes)  # type: ignore[type-var]


def convert(kind: Any, new: Any) -> Any:
    """Convert a value from YAML to a field's type.

    Args:
        kind: The type: a class, a Literal, or one of them or None.
        new: The value. YAML reads 1e-4 as text; here it is a number.

    Returns:
        The converted value.

    Raises:
        TypeError: The value does not fit; the error names what is expected.
    """
    arguments = get_args(kind)
    if get_origin(kind) is Literal:
        if new in arguments:
            return new
        raise TypeError("one of " + ", ".join(str(choice) for choice in arguments))
    if type(None) in arguments:  # X | None
        if new is None:
            return None
        return convert(next(choice for choice in arguments if choice is not type(None)), new)
    if kind is float:
        return convert_number(new)
    if isinstance(new, kind) and not (kind is int and isinstance(new, bool)):
        return new
    raise TypeError(TYPE_NAMES.get(kind, getattr(kind, "__name__", str(kind))))


def convert_number(new: Any) -> float:
    """Convert a value from YAML to a float; a TypeError says what is expected.

    Args:
        new: A number, or text that Python reads as one ("1e-4"); True and False are refused.
    """
    number = None
    if isinstance(new, str | int | float) and not isinstance(new, bool):
        with contextlib.suppress(ValueError, OverflowError):
            number = float(new)
    if number is None:
        raise TypeError(TYPE_NAMES[float])
    if not math.isfinite(number):
        raise TypeError("a finite number")
    return number
