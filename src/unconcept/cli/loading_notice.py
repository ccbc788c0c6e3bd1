"""A notice in the terminal while torch and diffusers are imported, which takes seconds."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from ..io.text import plain_console


@contextmanager
def loading() -> Iterator[None]:
    """Show the notice on stderr while the block runs; nothing is shown if it is not a terminal."""
    if not sys.stderr.isatty():
        yield
        return
    with plain_console(stderr=True).status("loading torch and diffusers"):
        yield
