"""Edits from files that other tools wrote: LoRAs of diffusers, PEFT and kohya, and changed weights.

LoRA               Δ = α / r · B A          α / r is 1 where the file has no α
kohya's .diff      Δ itself
changed weights    Δ = W − W*               as ESD and UCE write them
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from ..concepts.concept import Concept
from ..edits.edit import Edit
from ..edits.provenance import model_identity, named_tensors
from ..edits.weight_deltas import Deltas, Pair
from ..errors import InputError
from ..io.peer_weights import weights_file
from ..io.weights import open_safetensors
from ..models.interface import Model
from .lora import kohya_name

# What follows a module's name, longest first; "_lora" is an attention processor of old diffusers.
DOWN = (
    "_lora.down.weight",
    ".lora_A.default.weight",
    ".lora_down.weight",
    ".lora.down.weight",
    ".lora_A.weight",
)
UP = (
    "_lora.up.weight",
    ".lora_B.default.weight",
    ".lora_up.weight",
    ".lora.up.weight",
    ".lora_B.weight",
)
ALPHA = ".alpha"
DIFF = (".diff", ".diff_b")

# Forms of adapters whose change is not the product of two factors.
UNKNOWN = ("lora_mid", "hada_", "lokr_", "dora_scale", "lora_magnitude_vector", "oft_", "boft_")


def read_peer_edit(path: Path, model: Model, concepts: Sequence[Concept]) -> Edit:
    """Read a LoRA or changed weights of another tool as an edit of a model.

    Args:
        path: A .safetensors file, or PEFT's folder of one.
        model: The base model; only its names, shapes and weights are read.
        concepts: What the file erases; empty: what its header says, where unconcept wrote it.

    Returns:
        The edit.

    Raises:
        InputError: A tensor does not fit the model, or is of a form that is not supported.
    """
    file = weights_file(path)
    tensors, header = open_safetensors(file)
    names = WeightNames(model)
    if any(key.endswith((*DOWN, *DIFF)) for key in tensors):
        deltas = adapter_deltas(tensors, names, adapter_scales(file, header), file)
    else:
        deltas = replaced_weights(tensors, names, file)
    stated = stated_card(header)
    if concepts:
        stated["concepts"] = [asdict(concept) for concept in concepts]
    card = {"method": None, "settings": {}, "concepts": [], **stated, "family": model.family}
    return Edit(deltas, {**card, **model_identity(model, deltas)})


def stated_card(header: Mapping[str, str]) -> dict[str, Any]:
    """The card that unconcept writes into its exports; empty for other tools' files.

    Args:
        header: Metadata of a safetensors file.

    Returns:
        The value of "unconcept.card"; {} where it is not JSON of keys and values.
    """
    try:
        card = json.loads(header.get("unconcept.card", "{}"))
    except (ValueError, RecursionError):
        return {}
    return card if isinstance(card, dict) else {}


class WeightNames:
    """Finds the weight of a model that a module of another tool's file stands for."""

    def __init__(self, model: Model):
        """Note the names of all weights.

        Args:
            model: The base model.
        """
        self.tensors = dict(named_tensors(model.components))
        self.components = tuple(model.components)
        self.kohya: dict[str, str] = {}
        for name in self.tensors:
            try:
                key = kohya_name(name, model.family)
            except InputError:  # no such component in kohya's files
                continue
            self.kohya[f"{key}.{name.rpartition('.')[2]}"] = name

    def find(self, module: str, parameter: str = "weight") -> str | None:
        """The name of a parameter.

        Args:
            module: As in the file.
            parameter: "weight" or "bias".

        Returns:
            Its name in an edit; None where the model has none.
        """
        if module.startswith("lora_"):
            return self.kohya.get(f"{module}.{parameter}")
        plain = module.removeprefix("base_model.model.").replace(".processor.", ".")
        candidates = [plain, *(f"{component}.{plain}" for component in self.components)]
        for candidate in candidates:
            for name in (candidate, candidate.replace(".text_model.", ".")):
                if f"{name}.{parameter}" in self.tensors:
                    return f"{name}.{parameter}"
        return None


def adapter_scales(file: Path, header: Mapping[str, str]) -> dict[str, float]:
    """α / r of a LoRA, where it stands beside the tensors: in PEFT's file, or in diffusers' header.

    Args:
        file: The LoRA.
        header: Its metadata.

    Returns:
        By component; "" for all of them.
    """
    scales: dict[str, float] = {}
    config = file.parent / "adapter_config.json"
    try:
        if config.is_file():
            fields = json.loads(config.read_text(encoding="utf-8"))
            scales[""] = fields["lora_alpha"] / fields["r"]
        stated = json.loads(header.get("lora_adapter_metadata", "{}"))
        for key, value in stated.items():
            if key.endswith(".lora_alpha"):
                component = key.removesuffix(".lora_alpha")
                scales[component] = value / stated[f"{component}.r"]
    except (ValueError, KeyError, TypeError, ZeroDivisionError, RecursionError) as error:
        raise InputError(f"{file} has a damaged LoRA configuration: {error!r}") from error
    return scales


def adapter_deltas(
    tensors: Mapping[str, Tensor], names: WeightNames, scales: Mapping[str, float], file: Path
) -> Deltas:
    """The changes that a LoRA makes.

    Args:
        tensors: Of the file.
        names: Of the model's weights.
        scales: α / r where no tensor says it (`adapter_scales`).
        file: For messages.

    Returns:
        Δ by the names of the model.
    """
    whole: dict[str, Tensor] = {}
    pairs: dict[str, Pair] = {}
    for key in tensors:
        if any(sign in key for sign in UNKNOWN):
            raise InputError(
                f"{file} holds an adapter that is not the product of two factors ({key}): fuse it "
                "into a diffusers pipeline, and evaluate that folder"
            )
    for module, A, B in factor_pairs(tensors, file):
        name = known_name(names, module, "weight", file)
        alpha = tensors.get(module + ALPHA)
        scale = scales.get(name.partition(".")[0], scales.get("", 1.0))
        if alpha is not None:
            scale = float(alpha) / len(A)
        weight = names.tensors[name]
        U, V = scale * B.float().flatten(1), A.float().flatten(1)
        if U.shape[1] != len(V) or len(U) * V.shape[1] != weight.numel():
            raise InputError(f"{file}: {module} does not fit {name} of {list(weight.shape)}")
        if weight.ndim == 2:
            pairs[name] = U, V
        else:
            whole[name] = (U @ V).view_as(weight)
    for key, tensor in tensors.items():
        module, _, kind = key.rpartition(".")
        if f".{kind}" in DIFF:
            name = known_name(names, module, "bias" if kind == "diff_b" else "weight", file)
            whole[name] = fitted(tensor.float(), names.tensors[name], key, file)
    return Deltas(whole, pairs)


def factor_pairs(tensors: Mapping[str, Tensor], file: Path) -> Iterator[tuple[str, Tensor, Tensor]]:
    """The two factors of each module of a LoRA.

    Args:
        tensors: Of the file.
        file: For messages.

    Yields:
        (module, A [r, in], B [out, r]).
    """
    for key, A in tensors.items():
        for down, up in zip(DOWN, UP, strict=True):
            if not key.endswith(down):
                continue
            module = key.removesuffix(down)
            if module + up not in tensors:
                raise InputError(f"{file}: {key} has no partner {module + up}")
            yield module, A, tensors[module + up]
            break


def replaced_weights(tensors: Mapping[str, Tensor], names: WeightNames, file: Path) -> Deltas:
    """The changes of weights that are stored as they are after an erasure.

    Args:
        tensors: Of the file.
        names: Of the model's weights.
        file: For messages.

    Returns:
        Δ of every weight that differs.
    """
    whole: dict[str, Tensor] = {}
    for key, tensor in tensors.items():
        module, _, parameter = key.rpartition(".")
        name = known_name(names, module, parameter, file)
        original = names.tensors[name]
        delta = fitted(tensor.float(), original, key, file) - original.float().cpu()
        if delta.any():
            whole[name] = delta
    if not whole:
        raise InputError(f"{file} holds the model's own weights: there is no erasure to measure")
    return Deltas(whole)


def known_name(names: WeightNames, module: str, parameter: str, file: Path) -> str:
    """`WeightNames.find`, or an error.

    Args:
        names: Of the model's weights.
        module: As in the file.
        parameter: "weight" or "bias".
        file: For the message.
    """
    name = names.find(module, parameter)
    if name is None:
        raise InputError(
            f"{file} changes {module}, which this model does not have: it was made for another "
            "architecture, or is in a form that is not supported"
        )
    return name


def fitted(tensor: Tensor, weight: Tensor, key: str, file: Path) -> Tensor:
    """A tensor of the file, if it has the shape of the weight.

    Args:
        tensor: From the file.
        weight: Of the model.
        key: The tensor's name, for the message.
        file: For the message.
    """
    if tensor.shape != weight.shape:
        raise InputError(
            f"{file}: {key} of {list(tensor.shape)} does not fit a weight of {list(weight.shape)}"
        )
    return tensor
