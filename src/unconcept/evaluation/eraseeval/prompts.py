"""A user's own prompts for EraseEval, in JSON; EMMA's files are read as they are.

    {"pig": {"explicit": ["a pig in the rain"], "implicit": ["the animal that ham is made of"]}}

EMMA (arXiv 2512.17320) has a file for each level, {concept: [prompts]}: 1_name, 2_prefix and
3_variant name the concept, 4_short and 5_long describe it. Name the folder that holds them.
"""

import json
from pathlib import Path
from typing import Any

from ...errors import InputError
from .measures import plain

LEVELS = {
    "1_name": "explicit",
    "2_prefix": "explicit",
    "3_variant": "explicit",
    "4_short": "implicit",
    "5_long": "implicit",
}

FORM = '{concept: {"explicit": [prompts], "implicit": [prompts]}}'


def read_levels(path: Path, concept: str) -> dict[str, list[str]]:
    """The prompts of one concept.

    Args:
        path: A JSON file, or a folder of EMMA's.
        concept: Its name; case, hyphens and underscores do not matter.

    Returns:
        {"explicit": prompts, "implicit": prompts}

    Raises:
        InputError: There are none, or a file has another form.
    """
    prompts: dict[str, list[str]] = {"explicit": [], "implicit": []}
    files = sorted(path.rglob("*.json")) if path.is_dir() else [path]
    for file in files:
        level = LEVELS.get(file.stem)
        for name, content in read(file).items():
            if plain(name) != plain(concept):
                continue
            if level is not None and isinstance(content, list):
                prompts[level] += strings(content, file)
            elif isinstance(content, dict) and content.keys() <= prompts.keys():
                for kind, lines in content.items():
                    prompts[kind] += strings(lines, file)
            elif not path.is_dir():
                raise InputError(f"{file} has another form than {FORM}")
    if not any(prompts.values()):
        raise InputError(f'{path} has no prompts for "{concept}": its form is {FORM}')
    return prompts


def read(file: Path) -> dict[str, Any]:
    """The content of a JSON file of keys and values.

    Args:
        file: In UTF-8.

    Raises:
        InputError: It is something else.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{file} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise InputError(f"{file} has another form than {FORM}")
    return content


def strings(lines: Any, file: Path) -> list[str]:
    """A list of prompts.

    Args:
        lines: What should be one.
        file: Where it stands, for the error.

    Raises:
        InputError: It is something else.
    """
    if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
        raise InputError(f"{file} has another form than {FORM}")
    return [line.strip() for line in lines if line.strip()]
