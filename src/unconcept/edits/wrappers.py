"""Places where a weight is not what its module says: fused copies, offloaded weights.

diffusers' `fuse_qkv_projections()` makes attention read copies of its matrices. Sequential CPU
offload leaves a weight on the meta device until its module runs.
"""

from collections.abc import Iterable, Mapping

from torch import Tensor, nn

from ..errors import InputError
from ..models.interface import Model, Site


def check_in_memory(model: Model, name: str) -> None:
    """Check that a weight is in memory.

    Args:
        model: To be edited.
        name: Of one of its weights.

    Raises:
        InputError: It is offloaded.
    """
    owner, parameter = Site(name, "").find(model.components)
    if getattr(owner, parameter).device.type == "meta":
        raise InputError(
            f"{name} is not in memory (sequential CPU offload?): apply the edit first, "
            "then enable_sequential_cpu_offload()"
        )


def check_shape(name: str, weight: Tensor, delta: Tensor) -> None:
    """Check that a weight has the shape of its change. A quantized one is stored in another.

    Args:
        name: Of the weight, for the message.
        weight: The weight.
        delta: Δ.

    Raises:
        InputError: It does not.
    """
    if weight.is_floating_point() and weight.shape != delta.shape:
        raise InputError(
            f"{name} has the shape {list(weight.shape)}, the edit's change {list(delta.shape)}: "
            "the edit was made for another architecture"
        )


def fuse_again(components: Mapping[str, nn.Module], changed: Iterable[str]) -> None:
    """Bring the copies up to date that attention modules read after `fuse_qkv_projections()`.

    Args:
        components: Modules by name.
        changed: Names of the weights that have changed.
    """
    seen = set()
    for name in changed:
        component, _, path = name.partition(".")
        attention = path.rpartition(".to_")[0] or path.rpartition(".add_")[0]
        if not attention or (component, attention) in seen:
            continue
        seen.add((component, attention))
        module = components[component].get_submodule(attention)
        if getattr(module, "fused_projections", False):
            module.fused_projections = False  # type: ignore[assignment]  # else: no second copy
            module.fuse_projections()  # type: ignore[operator]
