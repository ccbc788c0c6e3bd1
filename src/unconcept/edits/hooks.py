"""Adapters behind modules of a model."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from .guidance_adapters import GuidanceAdapter, read_denoiser_call


@contextmanager
def attach_adapters(
    components: Mapping[str, nn.Module], adapters: Mapping[str, nn.Module]
) -> Iterator[None]:
    """Inside, each adapter changes the output of the module at its site.

    Args:
        components: Modules by name.
        adapters: By site, "unet.path.to.module".
    """
    handles = [attach_adapter(components, site, adapter) for site, adapter in adapters.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def attach_adapter(
    components: Mapping[str, nn.Module], site: str, adapter: nn.Module
) -> RemovableHandle:
    """Put an adapter behind a module.

    Args:
        components: Modules by name.
        site: "unet.path.to.module".
        adapter: Is moved to the component's device. It gets the module's output, or the first
            entry of an output that holds several; a `GuidanceAdapter` also gets the denoiser's
            call.

    Returns:
        A handle that removes the adapter.
    """
    component, _, path = site.partition(".")
    target = components[component].get_submodule(path)
    device = next(components[component].parameters()).device
    if any(tensor.device != device for tensor in adapter.state_dict().values()):
        adapter.to(device)

    def change_output(module: nn.Module, args: tuple, kwargs: dict, output: Any) -> Any:
        first = output if isinstance(output, Tensor) else output[0]
        inputs = [first]
        if isinstance(adapter, GuidanceAdapter):
            inputs.append(read_denoiser_call(module, args, kwargs))
        changed = adapter(*inputs)
        if isinstance(output, Tensor):
            return changed
        if isinstance(output, tuple):
            return (changed, *output[1:])
        return type(output)(changed)  # a denoiser's output of diffusers, which holds a sample

    return target.register_forward_hook(change_output, with_kwargs=True)
