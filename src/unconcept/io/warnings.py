"""Warnings that are due many times in a run, and are said once."""

import functools
import logging

log = logging.getLogger(__name__)


@functools.cache
def warn_once(text: str) -> None:
    """Log a warning the first time that it is due in this process.

    Args:
        text: One line.
    """
    log.warning(text)
