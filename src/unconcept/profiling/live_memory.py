"""What passes without gradients hold at their worst moment, from shapes alone.

Sampling, decoding and encoding free each tensor when nothing reads it any more, so their peak is
the largest sum of tensors that are alive at once.
"""

import weakref
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from ..models.conditioning import MAX_CONDITION_NUMBERS, empty_condition
from ..models.interface import Model
from . import meta_kernels
from .activations import TIMESTEP, flash_attention

PROMPTS = 2048  # that a run encodes, at most: the retained prompts
PROMPT = "a picture"  # any: shapes hardly depend on it


class LiveBytes(TorchDispatchMode):
    """Inside the `with`, the bytes of all tensors that operations return are followed.

    peak  the most bytes that were alive at once
    """

    def __init__(self, weights: Iterable[Tensor] = ()):
        """Begin with nothing alive.

        Args:
            weights: Tensors that are in memory anyway.
        """
        super().__init__()
        self.peak = 0
        self.now = 0
        self.known = {weight.untyped_storage()._cdata for weight in weights}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nothing is compiled here; saying so again for every operation takes time."""
        return False

    def __torch_dispatch__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        out = meta_kernels.run(func, args, kwargs or {})
        tree_map_only(Tensor, self.follow, out)
        return out

    def follow(self, tensor: Tensor) -> Tensor:
        """Count a tensor's storage until it is freed.

        Args:
            tensor: What an operation returned; a view has the storage of another tensor.
        """
        storage = tensor.untyped_storage()
        place = storage._cdata
        if place not in self.known:
            self.known.add(place)
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self.free, place, storage.nbytes())
        return tensor

    def free(self, place: int, size: int) -> None:
        """A storage is gone.

        Args:
            place: Of the storage.
            size: Bytes that it had.
        """
        self.known.discard(place)
        self.now -= size


def sampling_bytes(model: Model) -> int:
    """Bytes besides weights while images are sampled: of the denoiser, the autoencoder or the text
    encoders, whichever takes most.

    Args:
        model: A PipelineModel on the device "meta".

    Returns:
        Bytes. Attention is counted as flash attention stores it.
    """
    return max(denoising_bytes(model), decoding_bytes(model), encoding_bytes(model))


def live_bytes(model: Any, run: Callable[[], Any]) -> int:
    """The peak of a function without gradients.

    Args:
        model: Its weights are not counted.
        run: Computes something with the model.

    Returns:
        Bytes.
    """
    weights = [*model.pipe.vae.parameters()]
    for component in model.components.values():
        weights += component.parameters()
    with torch.no_grad(), flash_attention(), LiveBytes(weights) as live:
        run()
    return live.peak


def denoising_bytes(model: Any) -> int:
    """Bytes of one prediction of as many rows as are sampled at once.

    Args:
        model: A PipelineModel on the device "meta". One row is followed, and counted `max_batch`
            times.

    Returns:
        Bytes of what the denoiser holds, without the weights.
    """
    condition = empty_condition(model)
    one_row = {}
    for name, tensor in condition.items():
        one_row[name] = tensor[:1]
    x = torch.zeros(1, *model.latent_shape, device=model.device, dtype=model.dtype)
    t = torch.full((1,), TIMESTEP, device=model.device)

    def predict() -> None:
        model.predict(x, t, one_row)

    return model.max_batch * live_bytes(model, predict)


def decoding_bytes(model: Any) -> int:
    """Bytes of decoding as many images as are decoded at once; clips are decoded one by one.

    Args:
        model: A PipelineModel on the device "meta". One image is followed, and counted once for
            each of them.

    Returns:
        Bytes of what the autoencoder holds, without the weights.
    """
    at_once = min(model.max_batch // 2, max(1, 2**18 // model.image_size**2))
    at_once = 1 if model.frames else at_once
    latents = torch.zeros(1, *model.latent_shape, device=model.device, dtype=model.dtype)

    def decode() -> None:
        model.decode_batch(latents)

    return at_once * live_bytes(model, decode)


def encoding_bytes(model: Any) -> int:
    """Bytes of encoding as many prompts as are encoded at once.

    Args:
        model: A PipelineModel on the device "meta". One prompt is followed, and counted once for
            each of them.

    Returns:
        Bytes of what the text encoders hold, without the weights.
    """
    numbers = sum(tensor[0].numel() for tensor in empty_condition(model).values())

    def encode() -> None:
        model.encode([PROMPT])

    at_once = min(PROMPTS, max(1, MAX_CONDITION_NUMBERS // numbers))
    return at_once * live_bytes(model, encode)
