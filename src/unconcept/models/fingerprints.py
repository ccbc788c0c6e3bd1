"""Hashes of weights."""

import hashlib
from collections.abc import Mapping

import torch
from torch import nn


def hash_weights(modules: Mapping[str, nn.Module]) -> str:
    """sha256 of weights and buffers, rounded to bfloat16.

    Args:
        modules: Networks by name; the names are hashed, too.
    """
    digest = hashlib.sha256()
    for component, module in modules.items():
        for name, tensor in sorted(module.state_dict().items()):  # a swap may change the order
            values = tensor.detach()
            if values.is_floating_point():
                values = values.to(torch.bfloat16)
            digest.update(f"{component}.{name}".encode())
            digest.update(values.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
