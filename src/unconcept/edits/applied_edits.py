"""Which edits are applied to which modules: original weights, changes in their order, adapters.

The state is kept per module, so that it lives as long as the module does. Edits are identified by
their fingerprints.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ..models.interface import Model, Site
from .hooks import attach_adapter
from .parameters import swap_parameters
from .wrappers import fuse_again

# Weights before the first edit, by the parameter's name.
_originals: WeakKeyDictionary[nn.Module, dict[str, Tensor]] = WeakKeyDictionary()
# (parameter, Δ, fingerprint), in the order in which the edits were applied
_applied: WeakKeyDictionary[nn.Module, list[tuple[str, Tensor, str]]] = WeakKeyDictionary()
# (fingerprint, handle of the adapter)
_handles: WeakKeyDictionary[nn.Module, list[tuple[str, RemovableHandle]]] = WeakKeyDictionary()


def add_changes(model: Model, deltas: Mapping[str, Tensor], fingerprint: str) -> None:
    """Add the changes of an edit to the weights of a model.

    Args:
        model: To be edited.
        deltas: Δ by the name of the weight.
        fingerprint: Of the edit.
    """
    for name, delta in deltas.items():
        owner, parameter = Site(name, "").find(model.components)
        originals = _originals.setdefault(owner, {})
        originals.setdefault(parameter, getattr(owner, parameter).detach().clone())
        _applied.setdefault(owner, []).append((parameter, delta, fingerprint))
        _write_weight(owner, parameter)
    fuse_again(model.components, deltas)


def remove_changes(model: Model, names: Iterable[str], fingerprint: str) -> None:
    """Write the weights that a model has without an edit.

    Args:
        model: With the edit applied.
        names: Of the weights that the edit changes.
        fingerprint: Of the edit.
    """
    names = list(names)
    for name in names:
        owner, parameter = Site(name, "").find(model.components)
        remaining = []
        for entry in _applied.get(owner, []):
            if entry[0] != parameter or entry[2] != fingerprint:
                remaining.append(entry)
        _applied[owner] = remaining
        _write_weight(owner, parameter)
    fuse_again(model.components, names)


def add_adapters(model: Model, adapters: Mapping[str, Any], fingerprint: str) -> None:
    """Put the adapters of an edit behind modules of a model.

    Args:
        model: To be edited.
        adapters: By the name of the module that they sit behind.
        fingerprint: Of the edit.
    """
    for site, adapter in adapters.items():
        handle = attach_adapter(model.components, site, adapter)
        _handles.setdefault(_module(model, site), []).append((fingerprint, handle))


def remove_adapters(model: Model, sites: Iterable[str], fingerprint: str) -> None:
    """Take the adapters of an edit out of a model.

    Args:
        model: With the edit applied.
        sites: Names of the modules that the adapters sit behind.
        fingerprint: Of the edit.
    """
    for site in sites:
        module = _module(model, site)
        others = []
        for key, handle in _handles.pop(module, []):
            if key == fingerprint:
                handle.remove()
            else:
                others.append((key, handle))
        _handles[module] = others


def has_changes(model: Model, name: str, fingerprint: str) -> bool:
    """Whether an edit is applied to a weight.

    Args:
        model: Any model.
        name: Of one of its weights.
        fingerprint: Of the edit.
    """
    owner, parameter = Site(name, "").find(model.components)
    entries = _applied.get(owner, [])
    return any(entry[0] == parameter and entry[2] == fingerprint for entry in entries)


def has_adapter(model: Model, site: str, fingerprint: str) -> bool:
    """Whether an adapter of an edit sits behind a module.

    Args:
        model: Any model.
        site: The module's name.
        fingerprint: Of the edit.
    """
    return any(key == fingerprint for key, _ in _handles.get(_module(model, site), []))


def has_adapters(model: Model) -> bool:
    """Whether any applied edit has adapters on a model.

    Args:
        model: With or without applied edits.

    Returns:
        True where its outputs depend on more than its weights.
    """
    modules = itertools.chain(*(component.modules() for component in model.components.values()))
    return any(_handles.get(module) for module in modules)


@contextmanager
def without_edits(model: Model) -> Iterator[None]:
    """Inside, the model has its original weights, whatever edits are applied; adapters stay.

    Args:
        model: With or without applied edits.
    """
    originals = {}
    for component, module in model.components.items():
        for path, owner in module.named_modules():
            for parameter, original in _originals.get(owner, {}).items():
                name = f"{component}.{path}.{parameter}"
                originals[name] = nn.Parameter(original, requires_grad=False)
    with swap_parameters(model.components, originals):
        yield


def _module(model: Model, site: str) -> nn.Module:
    component, _, path = site.partition(".")
    return model.components[component].get_submodule(path)


def _write_weight(owner: nn.Module, parameter: str) -> None:
    """Write W* + Σ Δ of the applied edits; W* itself without any."""
    if owner not in _originals or parameter not in _originals[owner]:
        return
    original = _originals[owner][parameter]
    deltas = [delta for name, delta, _ in _applied.get(owner, []) if name == parameter]
    weight = sum((delta.to(original) for delta in deltas), original)
    getattr(owner, parameter).copy_(weight)
    if not deltas:
        del _originals[owner][parameter]
