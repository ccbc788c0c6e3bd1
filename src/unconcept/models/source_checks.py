"""Checks of a model's files before they are opened."""

from pathlib import Path
from typing import Any

from ..config.options import EMBEDDED, Source
from ..errors import InputError
from ..io.weights import PICKLES
from . import single_file
from .folder import INDEX, check_folder, check_weights, read_json


def check_source(source: Source) -> None:
    """Check all that can be known of a model before it is opened.

    Args:
        source: The model.

    Raises:
        InputError: There is no such model, its files are damaged, or it is something else.
    """
    name = source.model
    path = Path(name)
    if name in EMBEDDED:
        return
    if path.suffix in (*PICKLES, ".safetensors") and not path.is_dir():
        check_single_file(path, source)
    elif path.is_dir():
        check_folder(path)
    elif path.exists():
        raise InputError(f"{path} is neither a diffusers folder nor a .safetensors file")
    elif name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise InputError(
            f'there is no model "{name}": give "emoji", "emoji-flow" or "emoji-video", '
            "a diffusers folder, a .safetensors file, or a hub id like owner/name"
        )


def check_built(source: Source, model: Any) -> None:
    """Do the files of a folder hold every tensor of a model that was built without weights?

    Args:
        source: The model's.
        model: A PipelineModel on any device.

    Raises:
        InputError: One is missing.
    """
    path = Path(source.model)
    if path.is_dir():
        check_weights(path, model.pipe.components, source.variant)


def check_single_file(path: Path, source: Source) -> single_file.Header:
    """Check that a file is a Stable Diffusion checkpoint, and that its base_config fits.

    Args:
        path: The file.
        source: With base_config.

    Returns:
        The header of the file.

    Raises:
        InputError: It is not, or the base_config is not a diffusers folder of its kind.
    """
    header = single_file.Header.read(path)
    if problem := single_file.problem_of(header):
        raise InputError(f"{path} is {problem}")
    config = source.base_config
    if config is None:
        return header
    folder = Path(config)
    if not folder.is_dir():
        if folder.exists() or config.count("/") != 1 or config.startswith((".", "/", "~")):
            raise InputError(
                f"--base-config {config} is not a folder: give a diffusers folder of the same "
                "architecture"
            )
        return header  # a hub id
    if not (folder / INDEX).exists():
        raise InputError(f"--base-config {config} is not a diffusers folder: it has no {INDEX}")
    index = read_json(folder / INDEX)
    class_name = str(index.get("_class_name")) if isinstance(index, dict) else ""
    if ("XL" in class_name) != single_file.is_xl(header):
        kind = "Stable Diffusion XL" if single_file.is_xl(header) else "Stable Diffusion 1.x or 2.x"
        raise InputError(
            f"{path} is a checkpoint of {kind}, and --base-config {config} is the folder of a "
            f"{class_name}: give a folder of the same architecture"
        )
    return header
