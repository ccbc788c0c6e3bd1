"""Devices and precisions: where a model computes, and how precisely."""

import os

import torch

from ..config.options import Precision
from ..errors import InputError

PRECISIONS: dict[Precision, torch.dtype] = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}


def default_device() -> torch.device:
    """Device of small networks that judge images: the GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def choose_device(device: str | None) -> torch.device:
    """The device with a name, or the best one.

    Args:
        device: Such as "cuda", "mps" or "cpu"; None: the best one that is available.

    Returns:
        The device; of several GPUs, that of this process (torchrun's LOCAL_RANK).

    Raises:
        InputError: The device is not available.
    """
    if device in (None, "cuda") and torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    if device is None:
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        torch.empty(0, device=device)
        return torch.device(device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f'the device "{device}" is not available: {reason}') from None
