"""Weight deltas as LoRA files: for diffusers, and in kohya's format for ComfyUI and A1111."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ..config.options import Precision
from ..edits.edit import Edit
from ..edits.trimming import balanced_factors, rank_of_share, singular_values
from ..edits.weight_deltas import Deltas
from ..errors import InputError
from ..io.units import format_bytes
from ..io.weights import open_safetensors
from .names import SAME_NAMES, lora_file_of, lora_name

SMALL_RANK = 8  # is suggested

RELATIVE_ERROR = 1e-3  # of every matrix, where no rank is chosen

# Families whose weights are published in bf16; those of the others are in fp16.
BF16_FAMILIES = ("flux", "flux-2-klein", "qwen-image", "z-image", "sana")

DTYPES: Mapping[str, torch.dtype] = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}

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
COMFYUI = ("stable-diffusion-3", "flux", "flux-2-klein", "qwen-image", "z-image", "wan", "ltx")


@dataclass(frozen=True)
class Adapter:
    """How a LoRA or kohya file is written.

    rank   of the factors. None: as high as the relative error of every matrix needs to be below
           1e-3; for kohya Δ itself
    dtype  None: bf16 for families that are published in it, else fp16
    """

    rank: int | None = None
    dtype: Precision | None = None

    def torch_dtype(self, edit: Edit) -> torch.dtype:
        """The data type of the file's tensors.

        Args:
            edit: Says which family its model is of.
        """
        default = "bf16" if edit.card.get("family") in BF16_FAMILIES else "fp16"
        return DTYPES[self.dtype or default]


def check_smaller(edit: Edit, rank: int | None) -> None:
    """Refuse a LoRA that would be larger than the change itself.

    Args:
        edit: Weight deltas.
        rank: Of the LoRA; None: as of `low_rank_factors`.

    Raises:
        InputError: It would; the error names what is smaller.
    """
    factors = whole = of_rank_1 = 0
    for name, delta in matrices(edit).items():
        whole += delta.numel()
        of_rank_1 += sum(delta.shape)
        chosen = rank
        if chosen is None:
            values = singular_values(Deltas.of(edit.deltas), name)
            chosen = rank_of_share(values[1], RELATIVE_ERROR) if values else 1
        factors += min(chosen, *delta.shape) * sum(delta.shape)
    if factors <= whole:
        return
    family = named_family(edit)
    exact = "--as kohya without --rank" if family in KOHYA else "--as pipeline"
    smaller = max(1, min(SMALL_RANK, whole // of_rank_1))
    rank_text = f"of rank {rank}" if rank else f"with an error below {RELATIVE_ERROR:.1%}"
    raise InputError(
        f"a LoRA {rank_text} would hold {factors:,} numbers, more than the {whole:,} of the change "
        f"itself: export the exact change ({exact}), or choose a lower rank (--rank {smaller})"
    )


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
    values = torch.linalg.svd(delta.float(), full_matrices=False)
    up, down = balanced_factors(values, rank or rank_of_share(values[1], error))
    return down, up


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
    """An edit as a LoRA for diffusers; of Wan and LTX with the names that ComfyUI reads, too.

    Args:
        edit: Deltas of linear layers.
        rank: As of `low_rank_factors`.
        error: As of `low_rank_factors`.

    Returns:
        Tensors by their name in the file: "unet.….lora_A.weight" and "….lora_B.weight".
    """
    family = str(edit.card.get("family"))
    tensors = {}
    for name, delta in matrices(edit).items():
        A, B = low_rank_factors(delta, rank, error)
        path = lora_name(name, family)
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
    family = named_family(edit)
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


def named_family(edit: Edit) -> str:
    """The family whose names an edit's weights have.

    Args:
        edit: Of AnimateDiff the image model's family.
    """
    family = str(edit.card.get("family") or "stable-diffusion")
    return SAME_NAMES.get(family, family)


def split_by_file(edit: Edit) -> dict[str, Edit]:
    """The parts of an edit that go into separate LoRA files.

    Args:
        edit: Weight deltas.

    Returns:
        One edit under "", or Wan 2.2's "high_noise" and "low_noise".
    """
    family = str(edit.card.get("family"))
    parts: dict[str, dict[str, Tensor]] = {}
    for name, delta in edit.deltas.items():
        parts.setdefault(lora_file_of(name, family), {})[name] = delta
    if len(parts) < 2:
        return {"": edit}
    return {part: Edit(deltas, edit.card) for part, deltas in parts.items()}


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
        "0.4 MB in fp16, 32 matrices of rank 2 to 6, error at most 0.10 % of a matrix (NAME)".
    """
    tensors, _ = open_safetensors(file)
    for part, content in split_by_file(edit).items():
        edit = content if part and file.stem.endswith(part) else edit
    family = str(edit.card.get("family") or "stable-diffusion")
    ranks: list[int] = []
    errors: dict[str, float] = {}
    for name, delta in edit.deltas.items():
        stored, rank = stored_delta(tensors, name, family)
        difference = (delta.float() - stored.view_as(delta)).norm()
        errors[name] = float(difference / delta.float().norm().clamp(min=1e-30))
        if rank:
            ranks.append(rank)
    precision = next(
        key for key, dtype in DTYPES.items() if dtype == next(iter(tensors.values())).dtype
    )
    size = f"{format_bytes(file.stat().st_size)} in {precision}"
    worst = max(errors, key=errors.__getitem__)
    if errors[worst] == 0:
        return f"{size}, {len(errors)} changes as they are, exact"
    low, high = min(ranks, default=0), max(ranks, default=0)
    rank_text = f"rank {low}" if low == high else f"rank {low} to {high}"
    what = f"{len(ranks)} matrices of {rank_text}" if ranks else f"{len(errors)} changes"
    return f"{size}, {what}, error at most {errors[worst]:.2%} of a matrix ({worst})"


def stored_delta(tensors: Mapping[str, Tensor], name: str, family: str) -> tuple[Tensor, int]:
    """The change of one weight as a file holds it.

    Args:
        tensors: Of a file that `export` wrote as "lora" or "kohya".
        name: Of the weight.
        family: The model's.

    Returns:
        (Δ in single precision, its rank; 0 where Δ is stored itself).
    """
    path = lora_name(name, family)
    if f"{path}.lora_A.weight" in tensors:
        down, up = tensors[f"{path}.lora_A.weight"], tensors[f"{path}.lora_B.weight"]
        return up.float() @ down.float(), len(down)
    key = kohya_name(name, SAME_NAMES.get(family, family))
    if f"{key}.lora_down.weight" in tensors:
        down, up = tensors[f"{key}.lora_down.weight"], tensors[f"{key}.lora_up.weight"]
        return up.float() @ down.float(), len(down)
    suffix = "diff" if name.endswith(".weight") else "diff_b"
    return tensors[f"{key}.{suffix}"].float(), 0
