"""Weight deltas as LoRA files: for diffusers, and in kohya's format for ComfyUI and A1111."""

from pathlib import Path

import torch
from torch import Tensor, nn

from ..edits.edit import Edit
from ..errors import InputError
from ..io.units import format_bytes
from ..io.weights import open_safetensors

RELATIVE_ERROR = 1e-3  # of every matrix, where no rank is chosen

# A component's name in kohya's files, as ComfyUI and A1111 look it up.
KOHYA = {
    "stable-diffusion": {"unet": "lora_unet", "text_encoder": "lora_te"},
    "stable-diffusion-xl": {
        "unet": "lora_unet",
        "text_encoder": "lora_te1",
        "text_encoder_2": "lora_te2",
    },
}

# ComfyUI reads diffusers' names of their transformers (its comfy/lora.py).
COMFYUI = ("stable-diffusion-3", "flux", "flux-2-klein", "qwen-image", "z-image")


def low_rank_factors(
    delta: Tensor, rank: int | None, error: float = RELATIVE_ERROR
) -> tuple[Tensor, Tensor]:
    """Factor a matrix by its singular values: the best approximation of that rank.

    Source: Eckart & Young 1936.

    Args:
        delta: Δ [out, in].
        rank: 1 or more; None: as few as bring the relative error to `error` or below.
        error: Frobenius norm of Δ - B A over that of Δ.

    Returns:
        A [rank, in] and B [out, rank] with B A ≈ Δ.
    """
    U, S, V = torch.linalg.svd(delta.float(), full_matrices=False)
    if rank is None:
        tails = S.square().flip(0).cumsum(0).flip(0)  # squared error of keeping the first 0, 1, ...
        errors = (tails / S.square().sum().clamp(min=1e-30)).sqrt()
        rank = int((errors > error).sum())
    rank = max(1, min(rank, len(S)))
    half = S[:rank].sqrt()
    return (half[:, None] * V[:rank]).contiguous(), (U[:, :rank] * half).contiguous()


def matrices(edit: Edit) -> dict[str, Tensor]:
    """The deltas of linear layers, which are all that a LoRA can hold.

    Args:
        edit: Weight deltas.

    Returns:
        Δ [out, in] by the weight's name.

    Raises:
        InputError: The edit changes anything else.
    """
    for name, delta in edit.deltas.items():
        if delta.ndim != 2 or not name.endswith(".weight"):
            raise InputError(
                f"{name} is not a matrix of a linear layer: export this edit as pipeline, kohya "
                "(without a rank) or checkpoint"
            )
    return dict(edit.deltas)


def to_lora(edit: Edit, rank: int | None, error: float = RELATIVE_ERROR) -> dict[str, Tensor]:
    """An edit in diffusers' LoRA format.

    Args:
        edit: Deltas of linear layers.
        rank: As of `low_rank_factors`.
        error: As of `low_rank_factors`.

    Returns:
        Tensors by their name in the file: "unet.….lora_A.weight" and "….lora_B.weight".
    """
    tensors = {}
    for name, delta in matrices(edit).items():
        A, B = low_rank_factors(delta, rank, error)
        path = name.removesuffix(".weight")
        tensors[f"{path}.lora_A.weight"] = A
        tensors[f"{path}.lora_B.weight"] = B
    return tensors


def to_kohya(edit: Edit, rank: int | None) -> dict[str, Tensor]:
    """An edit in kohya's format.

    Args:
        edit: Weight deltas; with a rank, of linear layers alone.
        rank: Of the factors; None: Δ itself.

    Returns:
        Tensors by their name in the file: "lora_unet_….lora_down.weight", ".lora_up.weight" and
        ".alpha", which is the rank, so that the scale is 1; or ".diff".
    """
    family = str(edit.card.get("family") or "stable-diffusion")
    tensors = {}
    for name, delta in (edit.deltas if rank is None else matrices(edit)).items():
        key = kohya_name(name, family)
        if rank is None:
            suffix = "diff" if name.endswith(".weight") else "diff_b"
            tensors[f"{key}.{suffix}"] = delta.float().contiguous()
            continue
        A, B = low_rank_factors(delta, rank)
        # diffusers ignores some alphas where ranks differ: those of small matrices are padded.
        A = nn.functional.pad(A, (0, 0, 0, rank - len(A)))
        B = nn.functional.pad(B, (0, rank - B.shape[1]))
        tensors[f"{key}.lora_down.weight"] = A
        tensors[f"{key}.lora_up.weight"] = B
        tensors[f"{key}.alpha"] = torch.tensor(float(len(A)))
    return tensors


def kohya_name(name: str, family: str) -> str:
    """The name of a module in kohya's files.

    The level `text_model` is in these names, and not in those that transformers 5 gives to CLIP.

    Args:
        name: Of one of its weights or biases, as in `Edit.deltas`.
        family: The model's.

    Returns:
        "lora_unet_down_blocks_0_…".

    Raises:
        InputError: Kohya's files have no names for this component.
    """
    component, _, path = name.rpartition(".")[0].partition(".")
    if component not in KOHYA.get(family, {}):
        reads = component == "transformer" and family in COMFYUI
        reader = "ComfyUI" if reads else "diffusers"
        raise InputError(
            f"kohya's files have no name for a {component} of {family}; {reader} reads diffusers' "
            "own names of it: export a lora"
        )
    if component != "unet" and not path.startswith(("text_model.", "text_projection")):
        path = f"text_model.{path}"
    return f"{KOHYA[family][component]}_{path.replace('.', '_')}"


def describe_adapter(edit: Edit, file: Path) -> str:
    """What a LoRA file holds, in one line: its size, its ranks, and how exact it is.

    Args:
        edit: Weight deltas.
        file: Written by `export` as "lora" or "kohya".

    Returns:
        "0.4 MB, 32 matrices of rank 2 to 6, error at most 0.1 % of a matrix"; exact where the
        file holds the changes themselves.
    """
    tensors, _ = open_safetensors(file)
    ranks, errors = [], []
    for name, delta in edit.deltas.items():
        path = name.removesuffix(".weight")
        keys = f"{path}.lora_A.weight", f"{path}.lora_B.weight"
        if keys[0] not in tensors:
            key = kohya_name(name, str(edit.card.get("family") or "stable-diffusion"))
            keys = f"{key}.lora_down.weight", f"{key}.lora_up.weight"
        if keys[0] not in tensors:
            continue
        A, B = tensors[keys[0]], tensors[keys[1]]
        ranks.append(len(A))
        delta = delta.float()
        errors.append(float((delta - B @ A).norm() / delta.norm().clamp(min=1e-30)))
    size = format_bytes(file.stat().st_size)
    if not ranks:
        return f"{size}, {len(edit.deltas)} changes as they are, exact"
    low, high = min(ranks), max(ranks)
    rank = f"rank {low}" if low == high else f"rank {low} to {high}"
    return f"{size}, {len(ranks)} matrices of {rank}, error at most {max(errors):.2%} of a matrix"
