"""Settings from a YAML file into frozen dataclasses; a wrong key is answered with the nearest right one."""

import difflib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import TypeVar

from .errors import InputError

T = TypeVar("T")


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
    """The dataclass `value` with the keys of `given` replaced, nested ones in turn."""
    check_keys(given, [f.name for f in fields(value)], where)  # type: ignore[arg-type]
    changes, optional = {}, {f.name for f in fields(value) if "None" in str(f.type)}  # type: ignore[arg-type]
    for key, new in given.items():
        old = getattr(value, key)
        if is_dataclass(old):
            if not isinstance(new, Mapping):
                raise InputError(f'"{key}" in {where} holds keys of its own: {", ".join(f.name for f in fields(old))}')
            new = override(old, new, f"{where} / {key}")
        elif isinstance(old, bool) != isinstance(new, bool) or not _fits(old, new, key in optional):
            raise InputError(f'"{key}" in {where} is {new!r}; expected something like {old!r}')
        elif isinstance(old, float) and isinstance(new, int):
            new = float(new)
        changes[key] = new
    return replace(value, **changes)  # type: ignore[type-var]


def _fits(old, new, optional: bool) -> bool:
    if new is None or old is None:
        return optional and (new is None or isinstance(new, int | float))
    return isinstance(new, int | float) if isinstance(old, int | float) else isinstance(new, type(old))
