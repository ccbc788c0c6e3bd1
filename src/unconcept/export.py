"""Edits as files that other tools open: a whole pipeline folder, a LoRA for diffusers or for ComfyUI and A1111, or a patched single file.

Only changed tensors go this way. Modules that an edit puts behind others (erasers, a sparse autoencoder) are code, which no such file can hold.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from .card import exported
from .edit import Edit
from .errors import InputError, RunError
from .files import PICKLES, check_safetensors, open_safetensors, write_safetensors
from .folder import check_out, whole_folder
from .header import OF_THE_BASE, ORIGINAL, lasting, metadata, of_adapter

Form = Literal["pipeline", "lora", "kohya", "checkpoint"]
INDEX = "model_index.json"
KOHYA = {  # a component's name in kohya's files, as ComfyUI and A1111 look it up
    "stable-diffusion": {"unet": "lora_unet", "text_encoder": "lora_te"},
    "stable-diffusion-xl": {"unet": "lora_unet", "text_encoder": "lora_te1", "text_encoder_2": "lora_te2"},
}
# ComfyUI reads diffusers' names of their transformers (its comfy/lora.py).
COMFYUI = ("stable-diffusion-3", "flux", "flux-2-klein", "qwen-image", "z-image")


def export(
    edit: Edit, form: Form, out: Path, *, model: str = "emoji", rank: int | None = None, error: float = 1e-3, force: bool = False,
    base: Mapping[str, Any] = {},
) -> Path:  # fmt: skip
    """Write `edit` in a form that another tool reads; returns the path.

    pipeline    the base folder `model`, copied, with the changed weights replaced and a card that says so
    lora        diffusers' format (`pipe.load_lora_weights`): B A ≈ Δ by singular values, of `rank`, or of as many as bring the relative error of
                every matrix below `error`
    kohya       the same for ComfyUI and A1111 (Stable Diffusion, XL); without a `rank`, Δ itself, exactly (their "diff" keys)
    checkpoint  the single file `model` (Stable Diffusion's original layout), with the changed weights replaced

    base: what is known of the model that the edit was made of, by the fields of a hub's card (`card.base_of`); its licence goes into the file.
    """
    if edit.adapters:
        raise InputError("this edit holds modules, not weights: only unconcept can load it")
    if not edit.deltas:
        raise InputError("this edit changes nothing")
    if form == "pipeline":
        return to_pipeline(edit, base_folder(model), out, force, exported(edit.card, base, model))
    if form == "checkpoint":
        if (family := edit.card.get("family")) not in (None, "stable-diffusion", "stable-diffusion-xl"):
            raise InputError(f"single files of {family} are not written yet: export a pipeline or a lora")
        return to_checkpoint(edit, Path(model), out, force, base)
    if out.exists() and not force:
        raise InputError(f"{out} exists: choose another --out, or --force to replace it")
    tensors = to_lora(edit, rank, error) if form == "lora" else to_kohya(edit, rank, error)
    return write_safetensors(tensors, out, of_adapter(edit, tensors, metadata(edit, tensors, base)))


def push(made: Path, repository: str, card: str) -> str:
    """Upload a folder, or a file with its `card` beside it, to a repository of the hub, which is made when it is not there; the address."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError

    try:
        hub = HfApi()
        address = str(hub.create_repo(repository, exist_ok=True))
        if made.is_dir():
            hub.upload_folder(repo_id=repository, folder_path=made)
        else:
            hub.upload_file(repo_id=repository, path_or_fileobj=made, path_in_repo=made.name)
            hub.upload_file(repo_id=repository, path_or_fileobj=card.encode(), path_in_repo="README.md")
    except (HfHubHTTPError, HFValidationError, LocalTokenNotFoundError, OSError) as error:
        raise RunError(f"{made} was written, but not pushed: {str(error).splitlines()[0]}") from error
    return address


def base_folder(model: str) -> Path:
    if model == "emoji":
        from .models import emoji

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
                    tensors[key] = changed(tensors[key], edit.deltas[name])
                found.update(own.values())
                if own:
                    write_safetensors(tensors, file, lasting(about))
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


def to_checkpoint(edit: Edit, base: Path, out: Path, force: bool, known: Mapping[str, Any]) -> Path:
    """The user's own file in the original layout, all its other tensors as they are. Which name is which is asked of diffusers' converter.

    known: `base` of `export`. What the file says of its architecture and licence stays.
    """
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint

    check_safetensors(base)
    if out.exists() and not force:
        raise InputError(f"{out} exists: choose another --out, or --force to replace it")
    tensors, about = open_safetensors(base)
    layers = max((int(key.split(".")[3]) for key in tensors if key.startswith("model.diffusion_model.input_blocks.")), default=0)
    if not layers:
        raise InputError(f"{base} is no Stable Diffusion checkpoint in the original layout")
    xl = any(key.startswith("model.diffusion_model.label_emb.") for key in tensors)
    shape = {
        "layers_per_block": unet_layers_per_block(tensors),
        "addition_embed_type": "text_time" if xl else None,
        "class_embed_type": None,
    }
    converted = convert_ldm_unet_checkpoint(dict(tensors), shape)
    if not force:
        check_base(edit, base, {f"unet.{key}": t for key, t in converted.items()})
    by_storage = {t.data_ptr(): key for key, t in tensors.items()}
    for name, delta in edit.deltas.items():
        component, _, key = name.partition(".")
        if component != "unet" or key not in converted:
            raise InputError(f"{base} has no weight {name}: the edit was made for another architecture, or changes the text encoder")
        original = by_storage[converted[key].data_ptr()]
        tensors[original] = changed(tensors[original], delta)
    kept = lasting(about)
    new = {**metadata(edit, tensors, known), "modelspec.implementation": ORIGINAL}
    new = {key: said for key, said in new.items() if key not in kept or key not in OF_THE_BASE}
    return write_safetensors(tensors, out, {**kept, **new})


def unet_layers_per_block(tensors: Mapping[str, Tensor]) -> int:
    """Residual blocks between two downsamplings in the original layout: input_blocks.N.0.op is a downsampling."""
    downs = sorted(
        int(key.split(".")[3]) for key in tensors if key.startswith("model.diffusion_model.input_blocks.") and key.endswith(".0.op.weight")
    )
    return downs[0] - 1 if downs else 2


def changed(tensor: Tensor, delta: Tensor) -> Tensor:
    if tensor.shape != delta.shape:
        raise InputError(
            f"a weight of {list(tensor.shape)} cannot take a change of {list(delta.shape)}: the edit was made for another architecture"
        )
    return (tensor.float() + delta.float()).to(tensor.dtype)


def factors(delta: Tensor, rank: int | None, error: float) -> tuple[Tensor, Tensor]:
    """(A [r, in], B [out, r]) with B A ≈ Δ [out, in]: the best there is of that rank (Eckart & Young 1936)."""
    U, S, V = torch.linalg.svd(delta.float(), full_matrices=False)
    if rank is None:
        left = (S.square().flip(0).cumsum(0).flip(0) / S.square().sum().clamp(min=1e-30)).sqrt()
        rank = int((left > error).sum())
    rank = max(1, min(rank, len(S)))
    half = S[:rank].sqrt()
    return (half[:, None] * V[:rank]).contiguous(), (U[:, :rank] * half).contiguous()


def matrices(edit: Edit) -> dict[str, Tensor]:
    """Δ of the U-Net's and text encoder's matrices; anything else has no place in a LoRA."""
    for name, delta in edit.deltas.items():
        if delta.ndim != 2 or not name.endswith(".weight"):
            raise InputError(f"{name} is no matrix of a linear layer: export this edit as pipeline, kohya (without a rank) or checkpoint")
    return dict(edit.deltas)


def to_lora(edit: Edit, rank: int | None, error: float) -> dict[str, Tensor]:
    tensors = {}
    for name, delta in matrices(edit).items():
        A, B = factors(delta, rank, error)
        path = name.removesuffix(".weight")
        tensors |= {f"{path}.lora_A.weight": A, f"{path}.lora_B.weight": B}
    return tensors


def to_kohya(edit: Edit, rank: int | None, error: float) -> dict[str, Tensor]:
    """`lora_unet_down_blocks_0_….lora_down.weight`, `.lora_up.weight`, `.alpha` = rank, so that the scale is 1; or `.diff`."""
    tensors = {}
    for name, delta in (edit.deltas if rank is None else matrices(edit)).items():
        key = kohya_name(name, str(edit.card.get("family") or "stable-diffusion"))
        if rank is None:
            tensors[f"{key}.diff" if name.endswith(".weight") else f"{key}.diff_b"] = delta.float().contiguous()
        else:
            A, B = factors(delta, rank, error)
            tensors |= {f"{key}.lora_down.weight": A, f"{key}.lora_up.weight": B, f"{key}.alpha": torch.tensor(float(len(A)))}
    return tensors


def kohya_name(name: str, family: str) -> str:
    """Of the module of a weight or bias. The level `text_model` is in these names, and not in those that transformers 5 gives to CLIP."""
    component, _, path = name.rpartition(".")[0].partition(".")
    if component not in KOHYA.get(family, {}):
        reader = "ComfyUI" if component == "transformer" and family in COMFYUI else "diffusers"
        raise InputError(
            f"kohya's files have no name for a {component} of {family}; {reader} reads diffusers' own names of it: export a lora"
        )
    if component != "unet" and not path.startswith(("text_model.", "text_projection")):
        path = f"text_model.{path}"
    return f"{KOHYA[family][component]}_{path.replace('.', '_')}"
