"""Devices and precisions: where a model computes, and how precisely."""

import os

import torch

from ..config.options import Precision
from ..errors import InputError


def default_device() -> torch.device:
    """Where small networks that look at pictures run: the card, where there is one, whatever the model runs on."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


PRECISIONS: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def choose_device(device: str | None) -> torch.device:
    """The device of that name, or the best that is there."""
    if device in (None, "cuda") and torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))  # torchrun: a card for each process
    if device is None:
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        torch.empty(0, device=device)
        return torch.device(device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise InputError(f'the device "{device}" is not there: {str(error).splitlines()[0]}') from None
