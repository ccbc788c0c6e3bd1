"""A diffusers folder copied without what does not belong to the pipeline."""

import json
import shutil
from pathlib import Path

from ..errors import InputError

INDEX = "model_index.json"

# What a component is loaded from: configurations, vocabularies and weights. Pickled weights, code,
# hidden files and folders, and training states are something else.
SUFFIXES = (".json", ".txt", ".model", ".jinja", ".safetensors")
LICENCES = ("LICENSE", "LICENCE", "NOTICE", "COPYING")


def check_apart(base: Path, out: Path) -> None:
    """Check that neither of two folders lies in the other.

    Args:
        base: Is copied.
        out: Is written.

    Raises:
        InputError: One does.
    """
    source, target = base.resolve(), out.resolve()
    if target.is_relative_to(source) or source.is_relative_to(target):
        raise InputError(f"{out} and {base} lie one in the other: choose another --out")


def copy_pipeline(base: Path, folder: Path) -> None:
    """Copy the files that belong to a pipeline.

    Args:
        base: A diffusers folder.
        folder: Exists, and is empty.

    Raises:
        InputError: A file is a link to somewhere outside the model.
    """
    index = json.loads((base / INDEX).read_text(encoding="utf-8"))
    shutil.copyfile(checked(base / INDEX, base), folder / INDEX)
    for file in sorted(base.iterdir()):
        if file.is_file() and file.name.upper().startswith(LICENCES):
            shutil.copyfile(checked(file, base), folder / file.name)
    for component, library_and_class in index.items():
        if not isinstance(library_and_class, list) or not any(library_and_class):
            continue
        if (base / component).is_dir():
            copy_component(base / component, folder / component, base)


def copy_component(source: Path, target: Path, base: Path) -> None:
    """Copy the files of one component, those in folders inside it left out.

    Args:
        source: The component's folder.
        target: The folder to write.
        base: The model's folder, which no link may leave.
    """
    target.mkdir()
    for file in sorted(source.iterdir()):
        belongs = file.suffix in SUFFIXES and not file.name.startswith(".")
        if belongs and not file.is_dir():
            shutil.copyfile(checked(file, base), target / file.name)


def checked(file: Path, base: Path) -> Path:
    """A file, if it is a regular file of the model.

    In the hub's cache, files of `snapshots/REVISION` are links to `blobs`.

    Args:
        file: Perhaps a link.
        base: The model's folder.

    Returns:
        The file.

    Raises:
        InputError: It is a link that leaves the model, or a link to nothing, a pipe or a device.
    """
    allowed = [base.resolve()]
    if base.resolve().parent.name == "snapshots":
        allowed.append(base.resolve().parent.parent / "blobs")
    target = file.resolve()
    if not target.is_file():
        raise InputError(f"{file} is not a regular file: it is not copied")
    if not any(target.is_relative_to(place) for place in allowed):
        raise InputError(
            f"{file} is a link to a file outside the model: it is not copied. "
            "Put the file itself there, or remove the link"
        )
    return file
