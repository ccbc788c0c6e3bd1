"""Is a diffusers folder complete? Looked at before anything of it is opened."""

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from ..errors import InputError
from ..io.weights import PICKLES, check_safetensors, names_in

INDEX = "model_index.json"

# Components that are not used here: their files may be missing.
UNUSED = ("safety_checker", "feature_extractor", "image_encoder")

REQUIRED = ("unet", "transformer", "vae", "scheduler", "tokenizer", "text_encoder")

# In files of older libraries, and not in the networks of today.
IGNORED = re.compile(r"(position_ids|inv_freq|num_batches_tracked)$")

PACKED = -1  # instead of a number of numbers

SHARDS_INDEX = re.compile(r"\.safetensors\.index(\.[^.]+)?\.json$")

# "diffusion_pytorch_model.fp16.safetensors", in one file or in several: the variant is "fp16"
WEIGHTS_NAME = re.compile(r"[^.]+(?:\.([^.-]+))?(?:-\d+-of-\d+)?\.safetensors")


def check_folder(path: Path) -> None:
    """Check that a folder is a diffusers pipeline whose files can all be read.

    Args:
        path: The folder.

    Raises:
        InputError: It is not; the file is named.
    """
    if not (path / INDEX).exists():
        raise InputError(f"{path} {problem_of(path)}")
    weights = sorted(path.glob("*/*.safetensors"))
    pickles = sorted(file for file in path.glob("*/*") if file.suffix in PICKLES)
    if not weights and pickles:
        raise InputError(
            f"{path} holds only pickled weights ({pickles[0].name}), which are not read: "
            "convert it to safetensors first"
        )
    for file in weights:
        check_safetensors(file)
    check_components(path, read_json(path / INDEX))


def problem_of(path: Path) -> str:
    """What a folder is that has no model_index.json, and what to do.

    Args:
        path: A folder that exists.

    Returns:
        The end of a sentence that begins with the path.
    """
    if (path / "edit.safetensors").exists():
        return "is an edit of unconcept, not a model: give it with --edit"
    if (path / "adapter_config.json").exists() or list(path.glob("*lora*.safetensors")):
        return "holds a LoRA, not a model: merge it into its base model and give that folder"
    if (path / "config.json").exists():
        return (
            "is one component or another kind of model, not a diffusers pipeline: it has no "
            f"{INDEX}; give the folder that holds all components"
        )
    files = sorted(path.glob("*.safetensors"))
    if files:
        return f"is not a diffusers pipeline: it has no {INDEX}; give the file, such as {files[0]}"
    inner = sorted(path.glob(f"*/{INDEX}"))
    if inner:
        return f"is not a diffusers pipeline: it has no {INDEX}; did you mean {inner[0].parent}?"
    return f"is not a diffusers pipeline: it has no {INDEX}"


def read_json(file: Path) -> Any:
    """Read a JSON file.

    Args:
        file: Of a model.

    Returns:
        Its content.

    Raises:
        InputError: It cannot be read, or is not JSON.
    """
    if not file.is_file():
        raise InputError(f"{file} is not a file")
    try:
        return json.loads(file.read_bytes())
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, or nested too deeply
        reason = str(error).splitlines()[0][:100]
        raise InputError(
            f"{file} is damaged: it is not JSON ({reason}); download it again"
        ) from None


def check_shards(index: Path, content: Any) -> None:
    """Is every file there that the index of a network in several files names?

    Nothing is checked where all of them are missing beside other weights.

    Args:
        index: The .safetensors.index.json.
        content: What it holds.

    Raises:
        InputError: One is missing or does not hold its tensors.
    """
    places = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(places, dict):
        raise InputError(f"{index} is damaged: it has no weight_map; download it again")
    shards: dict[str, set[str]] = {}
    for tensor, file_name in places.items():
        shards.setdefault(str(file_name), set()).add(tensor)
    there = [file_name for file_name in shards if (index.parent / file_name).exists()]
    if not there and any(index.parent.glob("*.safetensors")):
        return  # the index of a variant that was not downloaded
    for file_name, tensors in shards.items():
        file = index.parent / file_name
        if not file.exists():
            raise InputError(f"{file} is missing: {index.name} names it; download the model again")
        if file.suffix in PICKLES:
            raise InputError(f"{index} names {file_name}, a pickle, which is not read")
        check_safetensors(file)
        missing = tensors.difference(names_in(file))
        if missing:
            raise InputError(f"{file} has no tensor {min(missing)}, which {index.name} names")


def check_components(path: Path, index: Any) -> None:
    """Does every component that model_index.json names have a folder with a configuration?

    Args:
        path: The folder.
        index: What its model_index.json holds.

    Raises:
        InputError: One does not.
    """
    if not isinstance(index, dict):
        raise InputError(f"{path / INDEX} is damaged: it must hold keys and values")
    for component, entry in index.items():
        if component.startswith("_") or component in UNUSED or not isinstance(entry, list):
            continue
        if len(entry) != 2 or not all(isinstance(part, str | None) for part in entry):
            raise InputError(
                f"{path / INDEX} is damaged: {component} must be [library, class], or two nulls"
            )
        if entry[1] is None:
            if component in REQUIRED:
                raise InputError(f"{path / INDEX} names no {component}: no model is without one")
            continue
        folder = path / component
        if not folder.is_dir():
            raise InputError(f"{folder} is missing: {INDEX} names it; download the model again")
        for file in sorted(folder.glob("*.json")):
            content = read_json(file)
            if SHARDS_INDEX.search(file.name):
                check_shards(file, content)
        check_configuration(folder, entry[1])


def check_configuration(folder: Path, class_name: str) -> None:
    """Does the folder of a component have the configuration that its class reads?

    Args:
        folder: Of the component.
        class_name: From model_index.json.

    Raises:
        InputError: It is missing or damaged.
    """
    if class_name.endswith("Scheduler"):
        name = "scheduler_config.json"
    elif folder.name == "guider":
        name = "guider_config.json"
    elif class_name.endswith(("Tokenizer", "TokenizerFast", "Processor")):
        return  # transformers reads several forms
    else:
        name = "config.json"
    if not (folder / name).exists():
        raise InputError(f"{folder / name} is missing: download the model again")
    if not isinstance(read_json(folder / name), dict):
        raise InputError(f"{folder / name} is damaged: it must hold keys and values")


def only_variant(path: Path) -> str | None:
    """The variant of a folder's weights, if all files have the same one.

    Args:
        path: A diffusers folder.

    Returns:
        Such as "fp16"; None if there are weights without a variant, or several variants.
    """
    variants = set()
    for file in path.glob("*/*.safetensors"):
        match = WEIGHTS_NAME.fullmatch(file.name)
        if match:
            variants.add(match[1])
    return variants.pop() if len(variants) == 1 else None


def check_weights(path: Path, modules: Mapping[str, Any], variant: str | None) -> None:
    """Do the weight files hold every tensor of the networks that are built from the folder?

    transformers fills what is missing with random numbers.

    Args:
        path: The folder.
        modules: Its networks by component, on any device.
        variant: Of the weights; None: those without a variant, or the only one.

    Raises:
        InputError: One is missing.
    """
    for component, module in modules.items():
        if not isinstance(module, torch.nn.Module):
            continue
        stored = stored_tensors(path / component, variant)
        if not stored:
            raise InputError(f"{path / component} holds no .safetensors file: it has no weights")
        for name, parameter in module.named_parameters():
            if stored.get(name, parameter.numel()) not in (PACKED, parameter.numel()):
                raise InputError(
                    f"the tensor {name} in {path / component} has {stored[name]:,} numbers, and "
                    f"with {path / component / 'config.json'} it would have "
                    f"{parameter.numel():,}: they belong to two models"
                )
        lost = missing_names(module, set(stored))
        if lost:
            raise InputError(
                f"the weights in {path / component} have no tensor {lost[0]}"
                f"{f' and {len(lost) - 1} others' if len(lost) > 1 else ''}: "
                "download the model again"
            )


def stored_tensors(folder: Path, variant: str | None) -> dict[str, int]:
    """The tensors in the files of a component's folder.

    Args:
        folder: The component's.
        variant: Of the weights; without such files those without a variant, or the only one.

    Returns:
        How many numbers each has, by name; `PACKED` where several are in one byte.
    """
    by_variant: dict[str | None, dict[str, int]] = {}
    for file in sorted(folder.glob("*.safetensors")):
        match = WEIGHTS_NAME.fullmatch(file.name)
        if not match:
            continue
        sizes = by_variant.setdefault(match[1], {})
        with safe_open(file, "pt") as opened:
            for name in opened.keys():  # noqa: SIM118  (it is not a mapping)
                view = opened.get_slice(name)
                packed = view.get_dtype() in ("U8", "I8")
                sizes[name] = PACKED if packed else math.prod(view.get_shape())
    if variant in by_variant:
        return by_variant[variant]
    return by_variant.get(None) or next(iter(by_variant.values()), {})


def missing_names(module: torch.nn.Module, stored: set[str]) -> list[str]:
    """Parameters of a network that its files do not hold.

    Libraries rename modules: a parameter whose name ends, or is the end of, a stored name is there,
    and as many as there are stored names that fit none may have been renamed.

    Args:
        module: The network.
        stored: Names in the files.

    Returns:
        The names, sorted; empty where renaming explains them all.
    """
    unused = {name for name in stored if not IGNORED.search(name)}
    lost = []
    for name, _ in module.named_parameters():  # tied ones once
        if name in unused:
            unused.discard(name)
        else:
            lost.append(name)
    ends: dict[str, str] = {}
    for name in unused:
        for end in tails(name):
            ends[end] = name
    missing = []
    for name in lost:
        match = next((ends[end] for end in tails(name) if end in ends), None)
        if match in unused:
            unused.discard(match)
        else:
            missing.append(name)
    return sorted(missing) if len(missing) > len(unused) else []


def tails(name: str) -> list[str]:
    """A tensor's name without its first 0, 1 and 2 parts; two parts stay.

    Args:
        name: Dotted name of a tensor in a component's file:
            "text_model.encoder.layers.0.mlp.fc1.bias".

    Returns:
        The whole name first; one name alone where it has two parts or fewer.
    """
    parts = name.split(".")
    return [".".join(parts[i:]) for i in range(max(1, min(3, len(parts) - 1)))]
