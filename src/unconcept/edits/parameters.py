"""Parameters swapped for other tensors, for the duration of a `with` block."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor, nn

from ..models.interface import Site


@contextmanager
def swap_parameters(
    components: Mapping[str, nn.Module], tensors: Mapping[str, Tensor]
) -> Iterator[None]:
    """Inside, tensors replace parameters; outside, the same parameter objects are back.

    Gradients flow through the tensors. They are put where the parameters are, not beside them as
    attributes: a network reads its dtype off its parameters.

    Args:
        components: Modules by name.
        tensors: By the name of the parameter, "unet.path.to.module.weight".
    """
    places = [Site(name, "").find(components) for name in tensors]
    originals = [owner._parameters[name] for owner, name in places]
    try:
        for (owner, name), tensor in zip(places, tensors.values()):
            owner._parameters[name] = tensor  # type: ignore[assignment]  # need not be a Parameter
        yield
    finally:
        for (owner, name), original in zip(places, originals):
            owner._parameters[name] = original
