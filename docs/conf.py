"""Sphinx configuration. `make docs` builds the site; every warning is an error."""

import re
from importlib.metadata import version as installed

project = "unconcept"
author = "The unconcept authors"
copyright = author
release = version = installed("unconcept")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["build"]
source_suffix = {".md": "markdown"}
default_role = "code"
nitpicky = False

html_theme = "furo"
html_title = f"unconcept {release}"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False

myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_default_options = {"members": True}
autodoc_preserve_defaults = True

ALIGNED = re.compile(r"^(\w+(?:, \w+)*)  +(\S.*)$")


def escape(text: str) -> str:
    """Text whose *, | and trailing _ are not markup, except inside backticks."""
    parts = re.split(r"(`[^`]*`)", text)
    for i in range(0, len(parts), 2):
        parts[i] = re.sub(r"([*|]|(?<=\w)_(?!\w))", r"\\\1", parts[i])
    return "".join(parts)


def as_restructured_text(app, what, name, obj, options, lines: list[str]) -> None:
    """Turn a docstring into reStructuredText: aligned lists of fields become bullet lists."""
    converted: list[str] = []
    in_list = False
    for line in lines:
        field = ALIGNED.match(line)
        if field:
            names = ", ".join(f"``{part}``" for part in field[1].split(", "))
            if not in_list:
                converted.append("")
            converted.append(f"- {names}: {escape(field[2])}")
            in_list = True
        elif in_list and line.startswith(" "):
            converted.append(f"  {escape(line.strip())}")
        else:
            if in_list:
                converted.append("")
            in_list = False
            converted.append(escape(line))
    lines[:] = converted


def setup(app) -> None:
    app.connect("autodoc-process-docstring", as_restructured_text, priority=400)
