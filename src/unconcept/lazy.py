"""Packages whose public names are imported on first use, so that `--help` and typos are answered
before torch is loaded.
"""

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def lazy_names(package: str, modules: Mapping[str, str]) -> Callable[[str], Any]:
    """Make the `__getattr__` of a package that imports each of its public names from a submodule
    on first use (PEP 562).

    Args:
        package: The package's `__name__`.
        modules: For every public name the submodule that defines it.

    Returns:
        A function for the package's `__getattr__`.
    """

    def load(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f".{modules[name]}", package), name)

    return load
