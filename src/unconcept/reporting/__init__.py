"""Results for people: the image grid, the score plot, report.json as a web page and in Markdown."""

from .html import page
from .image_grid import before_after_grid
from .report import markdown, write

__all__ = [
    "before_after_grid",
    "markdown",
    "page",
    "write",
]
