"""Parameters swapped for other tensors, for as long as a `with` block lasts."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from ..models.interface import Site


@contextmanager
def swap_parameters(components: Mapping[str, nn.Module], tensors: Mapping[str, Tensor]) -> Iterator[None]:
    """Inside: the named tensors stand where the parameters stood, gradients flow through them. Outside: the very parameters again."""
    places: list[tuple[Any, str, Tensor]] = [(*Site(name, "").find(components), tensor) for name, tensor in tensors.items()]
    originals = [owner._parameters[name] for owner, name, _ in places]
    try:
        for owner, name, tensor in places:
            owner._parameters[name] = tensor  # and no attribute beside them: a network is asked for its dtype when all of it is swapped
        yield
    finally:
        for (owner, name, _), original in zip(places, originals):
            owner._parameters[name] = original
