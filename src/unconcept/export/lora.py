"""Weight deltas as LoRA files: for diffusers, and in kohya's format for ComfyUI and A1111."""

import torch
from torch import Tensor

from ..edits.edit import Edit
from ..errors import InputError

KOHYA = {  # a component's name in kohya's files, as ComfyUI and A1111 look it up
    "stable-diffusion": {"unet": "lora_unet", "text_encoder": "lora_te"},
    "stable-diffusion-xl": {"unet": "lora_unet", "text_encoder": "lora_te1", "text_encoder_2": "lora_te2"},
}

# ComfyUI reads diffusers' names of their transformers (its comfy/lora.py).
COMFYUI = ("stable-diffusion-3", "flux", "flux-2-klein", "qwen-image", "z-image")


def low_rank_factors(delta: Tensor, rank: int | None, error: float) -> tuple[Tensor, Tensor]:
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
        A, B = low_rank_factors(delta, rank, error)
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
            A, B = low_rank_factors(delta, rank, error)
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
