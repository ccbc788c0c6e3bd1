"""What an exported file says of itself, in the words that other tools look for: its architecture, licence, content and where it came from."""

import hashlib
import json
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from ..edits.edit import Edit

ARCHITECTURES = {  # as kohya's sd-scripts and musubi-tuner name them (sai_model_spec.py)
    "stable-diffusion-xl": "stable-diffusion-xl-v1-base",
    "stable-diffusion-3": "stable-diffusion-3",
    "flux": "flux-1",
    "qwen-image": "Qwen-Image",
    "z-image": "Z-Image",
}

BY_WIDTH = {  # the same, where it depends on how wide that is which keys and values read. 2.x (1024) has two names, by what it predicts
    "stable-diffusion": {768: "stable-diffusion-v1"},
    "flux-2-klein": {3072: "Flux.2-klein-4b", 4096: "Flux.2-klein-9b"},
}

KEYS_AND_VALUES = tuple(
    f"{name}.weight" for name in ("attn2.to_k", "attn2.to_v", "add_k_proj", "add_v_proj", "self_attn.k_proj", "self_attn.v_proj")
)

ORIGINAL = "https://github.com/Stability-AI/generative-models"  # modelspec's name of the single files' layout, by kohya

OUTDATED = ("modelspec.hash_", "modelspec.date", "sshs_")  # what a file said of itself before its weights changed

OF_THE_BASE = tuple(f"modelspec.{name}" for name in ("sai_model_spec", "architecture", "implementation", "license"))


def metadata(edit: Edit, tensors: Mapping[str, Tensor], base: Mapping[str, Any]) -> dict[str, str]:
    """What other tools look for (github.com/Stability-AI/ModelSpec 1.0.0), and where the file came from. The same edit says the same: no date.

    Where no name of the architecture is published, or the edit does not tell which it is, none is given, and no conformity claimed.
    """
    concepts = ", ".join(c["erase"] + (f" -> {c['alternative']}" if c.get("alternative") else "") for c in edit.card.get("concepts", []))
    about = {
        "modelspec.implementation": "diffusers",
        "modelspec.title": f"without {concepts}",
        "modelspec.hash_sha256": f"0x{content_hash(tensors)}",
        "unconcept.version": version("unconcept"),
        "unconcept.versions": json.dumps({name: version(name) for name in ("torch", "diffusers")}),
        "unconcept.card": json.dumps({k: v for k, v in edit.card.items() if k in ("method", "concepts", "settings")}),
    }
    if name := architecture(edit):
        about |= {"modelspec.sai_model_spec": "1.0.0", "modelspec.architecture": name}
    if terms := base.get("license_name") or base.get("license"):
        about["modelspec.license"] = f"{terms} ({base['license_link']})" if base.get("license_link") else str(terms)
    if edit.card.get("model_sha256"):
        about["unconcept.base_sha256"] = str(edit.card["model_sha256"])
    return about


def adapter_metadata(edit: Edit, tensors: Mapping[str, Tensor], about: Mapping[str, str]) -> dict[str, str]:
    """`metadata` of a file that is put on a model: with the suffix of its architecture, and with what kohya writes and A1111 sorts by."""
    said, family, widths = dict(about), edit.card.get("family"), widths_read(edit)
    said["sshs_model_hash"] = about["modelspec.hash_sha256"].removeprefix("0x")
    if name := about.get("modelspec.architecture"):
        said["modelspec.architecture"] = f"{name}/lora"
    if family == "stable-diffusion-xl":
        said["ss_base_model_version"] = "sdxl_base_v1-0"
    if family == "stable-diffusion" and widths & {768, 1024}:
        said["ss_v2"] = str(1024 in widths)
    if ranks := {len(t) for key, t in tensors.items() if key.endswith(".lora_down.weight")}:
        said |= {"ss_network_module": "networks.lora", "ss_network_dim": str(max(ranks)), "ss_network_alpha": str(max(ranks))}
    return said


def kept_metadata(about: Mapping[str, str]) -> dict[str, str]:
    """What of a file's metadata is still so when its weights have changed."""
    return {key: said for key, said in about.items() if not key.startswith(OUTDATED)}


def architecture(edit: Edit) -> str:
    """modelspec's name of what the edit is for; "" where that is not known."""
    family = str(edit.card.get("family"))
    if family == "flux" and any("guidance_embedder" in name for name in (*edit.deltas, *(edit.card.get("model_weights") or {}))):
        return "flux-1-dev"  # schnell is told no guidance
    names = {name for width, name in BY_WIDTH.get(family, {}).items() if width in widths_read(edit)}
    return ARCHITECTURES.get(family, "") or (names.pop() if len(names) == 1 else "")


def widths_read(edit: Edit) -> set[int]:
    """How wide that is which the changed keys and values read."""
    return {delta.shape[-1] for name, delta in edit.deltas.items() if name.endswith(KEYS_AND_VALUES)}


def content_hash(tensors: Mapping[str, Tensor]) -> str:
    """sha256 of everything behind the header of the file that safetensors makes of them: modelspec's `hash_sha256`, kohya's `sshs_model_hash`."""
    empty = safetensors.torch.save({name: t.new_empty(0) for name, t in tensors.items()})
    digest = hashlib.sha256()
    for name in json.loads(empty[8:]):  # in the order of the file
        digest.update(tensors[name].detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
