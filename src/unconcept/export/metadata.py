"""The metadata of exported files, under the keys that other tools read.

Its architecture, licence, content, and where it came from.
"""

import hashlib
import json
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from ..edits.edit import Edit
from .names import SAME_NAMES

# As kohya's sd-scripts and musubi-tuner name them (sai_model_spec.py).
ARCHITECTURES = {
    "stable-diffusion-xl": "stable-diffusion-xl-v1-base",
    "stable-diffusion-3": "stable-diffusion-3",
    "flux": "flux-1",
    "qwen-image": "Qwen-Image",
    "z-image": "Z-Image",
}

# The same, where it depends on the width of what keys and values read. Stable Diffusion 2.x (1024)
# has two names, by what it predicts.
BY_WIDTH = {
    "stable-diffusion": {768: "stable-diffusion-v1"},
    "flux-2-klein": {3072: "Flux.2-klein-4b", 4096: "Flux.2-klein-9b"},
}

KEYS_AND_VALUES = (
    "attn2.to_k.weight",
    "attn2.to_v.weight",
    "add_k_proj.weight",
    "add_v_proj.weight",
    "self_attn.k_proj.weight",
    "self_attn.v_proj.weight",
)

# modelspec's name of the single files' layout, by kohya.
ORIGINAL = "https://github.com/Stability-AI/generative-models"

# What a file said of itself before its weights changed.
OUTDATED = ("modelspec.hash_", "modelspec.date", "sshs_")

CARD_KEYS = ("method", "concepts", "settings", "lexicon")  # of the edit's card go into the header

OF_THE_BASE = (
    "modelspec.sai_model_spec",
    "modelspec.architecture",
    "modelspec.implementation",
    "modelspec.license",
)


def metadata(edit: Edit, tensors: Mapping[str, Tensor], base: Mapping[str, Any]) -> dict[str, str]:
    """The header of an exported file (github.com/Stability-AI/ModelSpec 1.0.0).

    The same edit has the same header: no date. Where no name of the architecture is published, or
    the edit does not tell which it is, none is written, and no conformity claimed.

    Args:
        edit: Weight deltas.
        tensors: What the file holds.
        base: What is known of the base model, by the fields of a Hub card.

    Returns:
        Keys and values.
    """
    concepts = []
    for concept in edit.card.get("concepts", []):
        alternative = concept.get("alternative")
        concepts.append(concept["erase"] + (f" -> {alternative}" if alternative else ""))
    card = {key: value for key, value in edit.card.items() if key in CARD_KEYS}
    header = {
        "modelspec.implementation": "diffusers",
        "modelspec.title": f"without {', '.join(concepts)}",
        "modelspec.hash_sha256": f"0x{content_hash(tensors)}",
        "unconcept.version": version("unconcept"),
        "unconcept.versions": json.dumps({name: version(name) for name in ("torch", "diffusers")}),
        "unconcept.card": json.dumps(card),
    }
    if name := architecture(edit):
        header["modelspec.sai_model_spec"] = "1.0.0"
        header["modelspec.architecture"] = name
    if terms := base.get("license_name") or base.get("license"):
        link = base.get("license_link")
        header["modelspec.license"] = f"{terms} ({link})" if link else str(terms)
    if edit.card.get("model_sha256"):
        header["unconcept.base_sha256"] = str(edit.card["model_sha256"])
    return header


def adapter_metadata(
    edit: Edit, tensors: Mapping[str, Tensor], header: Mapping[str, str]
) -> dict[str, str]:
    """The header of a LoRA: with the keys that kohya writes and A1111 sorts by.

    Args:
        edit: Weight deltas.
        tensors: What the file holds.
        header: `metadata` of the file.

    Returns:
        A longer header.
    """
    family = str(edit.card.get("family"))
    family = SAME_NAMES.get(family, family)
    widths = widths_read(edit)
    longer = dict(header)
    longer["sshs_model_hash"] = header["modelspec.hash_sha256"].removeprefix("0x")
    if name := header.get("modelspec.architecture"):
        longer["modelspec.architecture"] = f"{name}/lora"
    if family == "stable-diffusion-xl":
        longer["ss_base_model_version"] = "sdxl_base_v1-0"
    if family == "stable-diffusion" and widths & {768, 1024}:
        longer["ss_v2"] = str(1024 in widths)
    ranks = [len(t) for key, t in tensors.items() if key.endswith(".lora_down.weight")]
    if ranks:
        longer["ss_network_module"] = "networks.lora"
        longer["ss_network_dim"] = longer["ss_network_alpha"] = str(max(ranks))
    return longer


def kept_metadata(header: Mapping[str, str]) -> dict[str, str]:
    """What of a header is still true when the weights have changed.

    Args:
        header: Metadata of a base model's safetensors file.

    Returns:
        All but hashes and the date.
    """
    return {key: value for key, value in header.items() if not key.startswith(OUTDATED)}


def architecture(edit: Edit) -> str:
    """modelspec's name of the architecture.

    Args:
        edit: Weight deltas, whose names and shapes tell it.

    Returns:
        The name; "" where it is not known.
    """
    family = str(edit.card.get("family"))
    family = SAME_NAMES.get(family, family)
    weights = (*edit.deltas, *(edit.card.get("model_weights") or {}))
    if family == "flux" and any("guidance_embedder" in name for name in weights):
        return "flux-1-dev"  # schnell has no guidance input
    if family in ARCHITECTURES:
        return ARCHITECTURES[family]
    by_width = BY_WIDTH.get(family, {})
    names = {by_width[width] for width in widths_read(edit) if width in by_width}
    return names.pop() if len(names) == 1 else ""


def widths_read(edit: Edit) -> set[int]:
    """Widths of what the changed keys and values read.

    Args:
        edit: Changes of keys and values (`KEYS_AND_VALUES`) count; other matrices may read
            something else.

    Returns:
        For example {768}; empty where the edit changes none of these.
    """
    widths = set()
    for name, delta in edit.deltas.items():
        if name.endswith(KEYS_AND_VALUES):
            widths.add(delta.shape[-1])
    return widths


def content_hash(tensors: Mapping[str, Tensor]) -> str:
    """sha256 of a safetensors file's content behind its header.

    It is modelspec's `hash_sha256` and kohya's `sshs_model_hash`.

    Args:
        tensors: What the file holds.

    Returns:
        64 hexadecimal digits.
    """
    empty = safetensors.torch.save({name: t.new_empty(0) for name, t in tensors.items()})
    digest = hashlib.sha256()
    for name in json.loads(empty[8:]):  # in the order of the file
        numbers = tensors[name].detach().cpu().contiguous().reshape(-1)
        digest.update(numbers.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
