"""Adapters behind modules, for as long as a `with` block lasts."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from torch import nn

from .guidance_adapters import GuidanceAdapter, read_denoiser_call


@contextmanager
def attach_adapters(components: Mapping[str, nn.Module], adapters: Mapping[str, nn.Module]) -> Iterator[None]:
    """Inside: each adapter works on the output of the module at its site ("unet.path.to.module"). Outside: nothing is left of it."""
    handles = [attach_adapter(components, site, adapter) for site, adapter in adapters.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def attach_adapter(components: Mapping[str, nn.Module], site: str, adapter: nn.Module):
    """Put an adapter behind the module at `site`; the handle takes it off. A tuple's first entry is what is changed."""
    component, _, path = site.partition(".")
    where = components[component].get_submodule(path)
    adapter.to(next(components[component].parameters()).device)

    def behind(module: nn.Module, args: tuple, kwargs: dict, output):
        change = (lambda y: adapter(y, read_denoiser_call(module, args, kwargs))) if isinstance(adapter, GuidanceAdapter) else adapter
        return (change(output[0]), *output[1:]) if isinstance(output, tuple) else change(output)

    return where.register_forward_hook(behind, with_kwargs=True)
