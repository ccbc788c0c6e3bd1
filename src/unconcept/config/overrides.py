"""Settings from a YAML file into frozen dataclasses; a wrong key is answered with the nearest
right one.
"""

import contextlib
import difflib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from ..errors import InputError

T = TypeVar("T")

# Keys of earlier versions, by the class that has them now: files that use them are still read.
RENAMED_KEYS = {
    "AllButOne": {"keep": "rho"},
    "Tune": {
        "batch": "batch_size",
        "parts": "gradient_accumulation",
        "checkpointing": "gradient_checkpointing",
        "eight_bit": "adam_8bit",
    },
}


def read_yaml(path: Path) -> dict:
    import yaml

    if not path.exists():
        raise InputError(f"the settings file {path} does not exist")
    try:
        content = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} must hold keys and values, like   lam: 2.0")
    return content


def check_keys(given: Mapping, allowed: list[str], where: str) -> None:
    for key in given:
        if key not in allowed:
            near = difflib.get_close_matches(str(key), allowed, 1, 0.4)
            hint = f'did you mean "{near[0]}"?' if near else f"allowed: {', '.join(allowed)}"
            raise InputError(f'unknown key "{key}" in {where}: {hint}')


def override(value: T, given: Mapping, where: str) -> T:
    """The dataclass `value` with the keys of `given` replaced, nested ones in turn; each must be
    of the field's type.
    """
    kinds, changes = get_type_hints(type(value)), {}
    renamed = RENAMED_KEYS.get(type(value).__name__, {})
    given = {renamed.get(key, key): new for key, new in given.items()}
    check_keys(given, [f.name for f in fields(value)], where)  # type: ignore[arg-type]
    for key, new in given.items():
        old = getattr(value, key)
        if is_dataclass(old):
            if not isinstance(new, Mapping):
                own_keys = ", ".join(field.name for field in fields(old))
                raise InputError(f'"{key}" in {where} holds keys of its own: {own_keys}')
            changes[key] = override(old, new, f"{where} / {key}")
            continue
        try:
            changes[key] = convert(kinds[key], new)
        except TypeError as error:
            raise InputError(
                f'"{key}" in {where} is {new!r}; expected {error}, like {old!r}'
            ) from None
    return replace(value, **changes)  # type: ignore[type-var]


def convert(kind: Any, new: Any) -> Any:
    """`new` as a value of the type; a TypeError says what that would be. YAML reads 1e-4 as text:
    it is a number here.
    """
    inside = get_args(kind)
    if get_origin(kind) is Literal:
        if new in inside:
            return new
        raise TypeError("one of " + ", ".join(str(choice) for choice in inside))
    if inside and type(None) in inside:  # X | None
        return None if new is None else convert(next(k for k in inside if k is not type(None)), new)
    if kind is float and isinstance(new, str):
        with contextlib.suppress(ValueError):
            return float(new)
    if kind is float and isinstance(new, int) and not isinstance(new, bool):
        return float(new)
    if isinstance(new, kind) and not (kind is int and isinstance(new, bool)):
        return new
    raise TypeError(
        {float: "a number", int: "a whole number", bool: "true or false", str: "words"}.get(
            kind, getattr(kind, "__name__", str(kind))
        )
    )
