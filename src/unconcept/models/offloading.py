"""Weights that wait in CPU memory: a layer's are on the GPU only while the layer computes.

The GPU then holds one layer of the denoiser and of the text encoders at a time, the VAE, and what a
pass computes. Every call of the network copies all of its weights to the GPU, which takes longer
than computing with them. The weights themselves stay where they are, so edits, hashes and exports
read and replace them as ever.

Only calls without gradients save memory: a backward pass keeps the copies that it needs.
"""

from typing import Any

import torch
from torch import Tensor, nn

from .interface import Model


class OffloadedLayer:
    """The hooks of one module with tensors of its own.

    In the forward pass, copies on the device replace its tensors, whichever these are
    at that moment: an edit that is applied is copied, too.
    """

    def __init__(self, device: torch.device):
        """Load nothing yet.

        Args:
            device: Where the layer computes.
        """
        self.device = device
        self.waiting: list[tuple[dict[str, Any], dict[str, Tensor | None]]] = []

    def load(self, module: nn.Module, _: Any) -> None:
        """Put the copies in place, before the forward pass.

        Args:
            module: The layer.
        """
        for tensors in (module._parameters, module._buffers):
            self.waiting.append((tensors, dict(tensors)))
            for name, tensor in tensors.items():
                if tensor is not None:
                    tensors[name] = tensor.detach().to(self.device)  # type: ignore[assignment]

    def unload(self, module: nn.Module, *_: Any) -> None:
        """Put the layer's own tensors back, also after a forward pass that failed.

        Args:
            module: The layer.
        """
        while self.waiting:
            tensors, originals = self.waiting.pop()
            tensors.update(originals)


def offload(model: Any, device: torch.device) -> None:
    """Let the denoiser and the text encoders wait in CPU memory and compute on a device.

    Args:
        model: A PipelineModel on the CPU. From now on its `device` is the other one, where its VAE
            is moved, too.
        device: Where it computes.
    """
    for component in model.components.values():
        for module in component.modules():
            if module._parameters or module._buffers:
                layer = OffloadedLayer(device)
                module.register_forward_pre_hook(layer.load)
                module.register_forward_hook(layer.unload, always_call=True)
    model.pipe.vae.to(device)
    model.offloaded_to = device


def is_offloading(hook: Any) -> bool:
    """Is a forward hook one of `offload`, which changes no output?

    Args:
        hook: An entry of a module's `_forward_hooks`.
    """
    return isinstance(getattr(hook, "__self__", None), OffloadedLayer)


def largest_layer(model: Model) -> int:
    """Bytes of the largest layer of the denoiser and the text encoders.

    Args:
        model: On any device.
    """
    largest = 0
    for component in model.components.values():
        for module in component.modules():
            tensors = [*module._parameters.values(), *module._buffers.values()]
            largest = max(largest, sum(t.nbytes for t in tensors if t is not None))
    return largest
