"""What the scripts of benchmarks/ answer; runs in a process of its own."""

import contextlib
import importlib
import io
import sys

import pytest


def show_options(paths: list[str], names: list[str]) -> None:
    """Import every script and let it show its options; put together what is put together late.

    Args:
        paths: Where scripts and what they import is.
        names: The scripts' modules.
    """
    sys.path[:0] = paths
    for name in names:
        print(name, file=sys.stderr)
        script = importlib.import_module(name)
        sys.argv = [name, "--help"]
        usage = io.StringIO()
        with contextlib.redirect_stdout(usage), pytest.raises(SystemExit) as end:
            script.main()
        assert end.value.code in (0, None), name
        assert usage.getvalue().startswith("usage:"), name

    gpu_memory = importlib.import_module("gpu_memory")
    for _, settings in gpu_memory.ROWS.values():
        assert gpu_memory.method(settings).trains
    search = importlib.import_module("hyperparameter_search")
    for name in search.TRIED:
        for settings in search.candidates(name):
            search.pairs.method_of(search.spec(name, settings), "emoji")
