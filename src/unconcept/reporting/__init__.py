"""Results for people: the image grid, the score plot, report.json as a web page and in Markdown."""

from .html import page
from .image_grid import sheet
from .report import markdown, write

__all__ = [
    "markdown",
    "page",
    "sheet",
    "write",
]
