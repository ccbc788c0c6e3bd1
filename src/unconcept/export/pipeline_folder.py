"""An edit as a whole diffusers folder."""

import json
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from ..config.options import Output
from ..edits.edit import Edit
from ..errors import InputError
from ..io.output_folder import check_out, whole_folder
from ..io.weights import open_safetensors, write_safetensors
from .folder_copy import INDEX, check_apart, copy_pipeline
from .metadata import kept_metadata
from .untouched import check_untouched


def base_folder(model: str) -> Path:
    """The folder of a base model.

    Args:
        model: "emoji", or a diffusers folder.

    Returns:
        The folder.

    Raises:
        InputError: It is not a diffusers folder.
    """
    if model == "emoji":
        from ..models import emoji

        return emoji.PIPELINE
    if not (Path(model) / INDEX).exists():
        raise InputError(
            f"{model} is not a diffusers folder: a pipeline is exported as a copy of one"
        )
    return Path(model)


def to_pipeline(edit: Edit, base: Path, output: Output, card: str) -> Path:
    """Copy a diffusers folder, with an edit in its weights.

    In the weight files of every variant ("fp16") the changed tensors are replaced, in their own
    precision. Of everything else, only the files of the components that model_index.json names and
    the licence are copied, as they are: other files may hold the concept, or nobody's business.
    At the end every written file is read again: none may hold an untouched copy of what changed.

    Args:
        edit: Weight deltas.
        base: The folder to copy.
        output: The folder to write; force: replace it, and accept another base than the edit's.
        card: README.md.

    Returns:
        The folder that was written.

    Raises:
        InputError: The edit was made for another model or architecture.
    """
    out = output.out or Path()
    check_apart(base, out)
    check_out(out, output.force)
    with whole_folder(out, output.force) as folder:
        copy_pipeline(base, folder)
        changed: set[str] = set()
        for component in {name.partition(".")[0] for name in edit.deltas}:
            for file in sorted((folder / component).glob("*.safetensors")):
                changed |= edit_file(file, component, edit, None if output.force else base)
        if missing := edit.deltas.keys() - changed:
            raise InputError(
                f"{base} has no weight {min(missing)}: the edit was made for another architecture"
            )
        (folder / "unconcept.json").write_text(json.dumps(dict(edit.card), indent=1) + "\n")
        (folder / "README.md").write_text(card, encoding="utf-8")
        originals = read_originals(base, edit)
        for file in sorted(folder.rglob("*.safetensors")):
            check_untouched(open_safetensors(file)[0], originals, edit, file.relative_to(folder))
    return out


def read_originals(base: Path, edit: Edit) -> dict[str, Tensor]:
    """The base's own values of the tensors that an edit changes.

    Args:
        base: A diffusers folder.
        edit: Weight deltas.

    Returns:
        By the names of `Edit.deltas`.
    """
    originals = {}
    for component in {name.partition(".")[0] for name in edit.deltas}:
        for file in sorted((base / component).glob("*.safetensors")):
            for key, tensor in open_safetensors(file)[0].items():
                if f"{component}.{key}" in edit.deltas:
                    originals[f"{component}.{key}"] = tensor
    return originals


def edit_file(file: Path, component: str, edit: Edit, base: Path | None) -> set[str]:
    """Replace the changed tensors in one weight file.

    Args:
        file: A safetensors file of the component.
        component: "unet", "text_encoder", ...
        edit: Weight deltas.
        base: The base model's folder, which must be the edit's; None: it may be another.

    Returns:
        Names of the deltas that were applied.
    """
    tensors, header = open_safetensors(file)
    names = {key: f"{component}.{key}" for key in tensors}
    if names and base is not None:
        check_base(edit, base, {names[key]: tensor for key, tensor in tensors.items()})
    changed = set()
    for key, name in names.items():
        if name in edit.deltas:
            tensors[key] = apply_delta(tensors[key], edit.deltas[name])
            changed.add(name)
    if changed:
        write_safetensors(tensors, file, kept_metadata(header))
    return changed


def check_base(edit: Edit, base: Path, tensors: Mapping[str, Tensor]) -> None:
    """Are these the weights that the edit was made for, as far as it remembers them?

    Args:
        edit: Weight deltas.
        base: The base model, for the message.
        tensors: Some of its weights, by the names of `Edit.deltas`.

    Raises:
        InputError: They are not, or the edit is in them already.
    """
    if not edit.card.get("model_weights"):
        return
    comparison = edit.compare(tensors)
    if not comparison.compared:
        return
    if comparison.applied:
        raise InputError(
            f"{base} has this edit in its weights already: --force to apply it a second time"
        )
    if not comparison.same:
        raise InputError(
            f"the edit was made for another model than {base}: --force to try all the same"
        )


def apply_delta(tensor: Tensor, delta: Tensor) -> Tensor:
    """Add a delta in fp32, and return to the weight's own precision.

    Args:
        tensor: The weight.
        delta: Of the same shape.

    Returns:
        The changed weight.

    Raises:
        InputError: The shapes differ.
    """
    if tensor.shape != delta.shape:
        raise InputError(
            f"a weight of {list(tensor.shape)} cannot take a change of {list(delta.shape)}: "
            "the edit was made for another architecture"
        )
    return (tensor.float() + delta.float()).to(tensor.dtype)
