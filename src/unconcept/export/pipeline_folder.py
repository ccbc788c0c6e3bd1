"""An edit as a whole diffusers folder."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from ..edits.edit import Edit
from ..errors import InputError
from ..io.output_folder import check_out, whole_folder
from ..io.weights import PICKLES, open_safetensors, write_safetensors
from .metadata import kept_metadata

INDEX = "model_index.json"


def base_folder(model: str) -> Path:
    if model == "emoji":
        from ..models import emoji

        return emoji.PIPELINE
    if not (Path(model) / INDEX).exists():
        raise InputError(f"{model} is no diffusers folder: a pipeline is exported as a copy of one")
    return Path(model)


def to_pipeline(edit: Edit, base: Path, out: Path, force: bool, card: str) -> Path:
    """Every file of the base is copied as it is, but README.md, which is `card`; in the weight files, of every variant ("fp16"), the changed tensors
    are replaced, in the precision they had. Pickled weights, and single files beside the folders, are left out: the concept is still in them."""
    check_out(out, force)
    found: set[str] = set()
    with whole_folder(out, force) as folder:
        shutil.copytree(base, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*(f"*{suffix}" for suffix in PICKLES)))
        for file in folder.glob("*.safetensors"):
            file.unlink()
        for component in {name.partition(".")[0] for name in edit.deltas}:
            for file in sorted((folder / component).glob("*.safetensors")):
                tensors, about = open_safetensors(file)
                if (known := {f"{component}.{key}": t for key, t in tensors.items()}) and not force:
                    check_base(edit, base, known)
                own = {key: name for key in tensors if (name := f"{component}.{key}") in edit.deltas}
                for key, name in own.items():
                    tensors[key] = apply_delta(tensors[key], edit.deltas[name])
                found.update(own.values())
                if own:
                    write_safetensors(tensors, file, kept_metadata(about))
        if left := edit.deltas.keys() - found:
            raise InputError(f"{base} has no weight {min(left)}: the edit was made for another architecture")
        (folder / "unconcept.json").write_text(json.dumps(dict(edit.card), indent=1) + "\n")
        (folder / "README.md").write_text(card, encoding="utf-8")
    return out


def check_base(edit: Edit, base: Path, tensors: Mapping[str, Tensor]) -> None:
    """Are the weights of a file, as far as the edit remembers them, those that it was made for?"""
    looks = {name: seen for name, seen in (edit.card.get("model_weights") or {}).items() if name in tensors}
    if looks and not replace(edit, card={"model_weights": looks}).knows(tensors):
        raise InputError(f"the edit was made for another model than {base}: --force to try all the same")


def apply_delta(tensor: Tensor, delta: Tensor) -> Tensor:
    if tensor.shape != delta.shape:
        raise InputError(
            f"a weight of {list(tensor.shape)} cannot take a change of {list(delta.shape)}: the edit was made for another architecture"
        )
    return (tensor.float() + delta.float()).to(tensor.dtype)
