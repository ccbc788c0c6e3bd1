"""A check that no untouched copy of a changed weight is in a file that is called erased."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from ..edits.edit import Edit
from ..edits.provenance import sample_numbers
from ..errors import RunError

COPY = 0.5  # ‖W − W*‖ / ‖W*‖ up to which W may be a copy of W*, such as a moving average
ROUNDING = 2**-8  # ‖Δ‖ / ‖W*‖ below which half precision cannot tell the two apart


def check_untouched(
    tensors: Mapping[str, Tensor], originals: Mapping[str, Tensor], edit: Edit, file: Path
) -> None:
    """Check that no tensor is a copy of what a weight was before the edit, under any name.

    Args:
        tensors: Of a file that was written.
        originals: W* of every changed weight by name.
        edit: With Δ of every changed weight.
        file: For the message.

    Raises:
        RunError: A tensor is like W*, and nearer to it than to W* + Δ.
    """
    for name, original in originals.items():
        weight, delta = original.float(), edit.deltas[name].float()
        if delta.norm() <= ROUNDING * weight.norm():
            continue
        sample = sample_numbers(original)
        for key, tensor in tensors.items():
            if tensor.shape != original.shape or not tensor.is_floating_point():
                continue
            if (sample_numbers(tensor) - sample).norm() > sample.norm():
                continue  # another weight altogether
            moved = tensor.float() - weight
            if moved.norm() < min((moved - delta).norm(), COPY * weight.norm()):
                raise RunError(
                    f"{file} would still hold the untouched weight {name} as {key}: "
                    "nothing was written"
                )
