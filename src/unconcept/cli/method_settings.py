"""A method's settings: its defaults, those for an embedded model, its authors', and presets."""

import dataclasses
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..config.overrides import override, read_yaml
from ..methods import METHODS
from .suggestions import unknown_name

PRESETS = Path(__file__).parent / "presets"

AUTHORS = "authors"  # the preset that holds what every method's authors use


def settings_for_model(name: str, model: str) -> Any:
    """A method with its default hyperparameters, or those chosen for an embedded model.

    Args:
        name: A key of METHODS.
        model: What `--model` got.

    Returns:
        An instance of the method.
    """
    from ..models.emoji import FLOW, FOLDER

    files = {"emoji": FOLDER / "methods.yaml", "emoji-flow": FLOW / "methods.yaml"}
    method = METHODS[name]()
    if model not in files:
        return method
    return override(method, read_yaml(files[model]).get(name, {}), "methods.yaml")


def authors_settings(name: str) -> Any:
    """A method with the hyperparameters that its authors' code has as its defaults.

    Args:
        name: A key of METHODS.

    Returns:
        An instance of the method.
    """
    settings = read_preset(AUTHORS, name)["settings"]
    return override(METHODS[name](), settings, f"preset {AUTHORS}")


def preset_settings(method: Any, preset: str) -> Any:
    """A method with the hyperparameters of a preset.

    Args:
        method: An instance of a method.
        preset: The name of a file in presets/.

    Returns:
        A new instance of the same class.
    """
    return override(method, read_preset(preset)["settings"], f"preset {preset}")


def describe_presets() -> list[str]:
    """What every preset is for: the comment at the head of its file.

    Returns:
        Lines of at most 79 characters, the name of each preset at the beginning.
    """
    lines = []
    for file in sorted(PRESETS.glob("*.yaml")):
        comment = []
        for line in file.read_text(encoding="utf-8").splitlines():
            if not line.startswith("#"):
                break
            comment.append(line.removeprefix("#").strip())
        text = f"{file.stem:<18}{' '.join(comment)}"
        lines += textwrap.wrap(text, 79, subsequent_indent=" " * 18)
    return lines


def read_preset(preset: str, method: str = "") -> dict:
    """The content of a preset.

    Args:
        preset: The name of a file in presets/.
        method: The method that is run: the preset "authors" has settings of its own for each.

    Returns:
        Its keys and values: settings, and quantize where the preset has it.

    Raises:
        InputError: There is no preset of that name; the nearest one is suggested.
    """
    files = {file.stem: file for file in sorted(PRESETS.glob("*.yaml"))}
    if preset not in files:
        raise unknown_name("preset", preset, list(files))
    content = read_yaml(files[preset])
    if preset == AUTHORS:
        return {"settings": content.get(method, {})}
    return content


def with_seed(method: Any, seed: int) -> Any:
    """The method with the run's seed, if it draws random numbers.

    Args:
        method: A dataclass of hyperparameters; the seed belongs to it or to its field `tune`.
        seed: Seed of the run.

    Returns:
        A copy with the seed; the method itself if it has no field for one.
    """
    fields = {field.name for field in dataclasses.fields(method)}
    if "tune" in fields:
        return replace(method, tune=replace(method.tune, seed=seed))
    return replace(method, seed=seed) if "seed" in fields else method
