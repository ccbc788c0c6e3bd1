"""Text of others as text: in a terminal, in Markdown, in a log. What could act is shown instead."""

import logging
import re
import shutil
import sys
import textwrap
import unicodedata
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import Console

# Control characters, lone surrogates, line and paragraph separators.
ACTING = ("Cc", "Cs", "Zl", "Zp")

# Marks that turn the direction of what follows, and the byte order mark.
BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff")

# What is emphasis, code, math, a cell, or begins HTML, wherever it stands.
MARKDOWN_SIGNS = re.compile(r"([\\`*|$]|(?<!\w)_|_(?!\w)|~~)")

# Brackets that make a link or an image.
LINKS = ("](", "][", "]:")

# What makes a line a heading, a list or a rule.
LINE_BEGINNINGS = re.compile(r"^(#{1,6}(?= |$)|[-+](?= |$)|[-=]{2,}|\d+(?=[.)](?: |$)))")


# `extra` of a log line that a command prints once, whatever its values are.
ONCE = {"once": True}


def visible(text: object, keep: str = "") -> str:
    r"""Text in which nothing acts: an escape sequence is printed as \x1b[31m.

    Args:
        text: Any text, or a path.
        keep: Characters that stay although they act, such as a line break.

    Returns:
        Control characters, marks of direction, line separators and what is not valid UTF-8 as the
        escapes of Python; all else as it is.
    """
    parts = []
    for letter in str(text):
        acts = letter in BIDI or unicodedata.category(letter) in ACTING
        parts.append(ascii(letter)[1:-1] if acts and letter not in keep else letter)
    return "".join(parts)


def one_line(text: object) -> str:
    """`visible` text on one line, with single spaces for its line breaks.

    Args:
        text: Anything; its `str` is taken. Control characters are escaped.
    """
    return visible(" ".join(re.split(r"[\t\n\r ]+", str(text).strip())))


def in_markdown(text: object) -> str:
    """Text for a Markdown file: no link, image, heading, emphasis or HTML comes of it.

    Args:
        text: Any text; it becomes one line.

    Returns:
        The text with its signs escaped.
    """
    line = re.sub(r"&(?=#?\w+;)", "&amp;", one_line(text))
    line = line.replace("<", "&lt;").replace(">", "&gt;")
    line = MARKDOWN_SIGNS.sub(r"\\\1", line)
    if any(link in line for link in LINKS):
        line = line.replace("[", "\\[").replace("]", "\\]")
    line = line.replace("://", "\\://").replace("www.", "www\\.")
    if beginning := LINE_BEGINNINGS.match(line):
        sign, rest = beginning[1], line[beginning.end() :]
        line = f"{sign}\\{rest}" if sign.isdigit() else f"\\{sign}{rest}"
    return line


def in_code_span(text: object) -> str:
    """Text as inline code in Markdown, with a fence that is longer than any in it.

    Args:
        text: Anything; it is put on one line.
    """
    line = one_line(text)
    longest = max((len(run) for run in re.findall("`+", line)), default=0)
    fence = "`" * (longest + 1)
    padding = " " if longest else ""
    return f"{fence}{padding}{line}{padding}{fence}"


def plain_console(*, stderr: bool = False) -> "Console":
    """A console that prints text as it is: no markup, no emoji codes, no highlighting.

    Args:
        stderr: Print to stderr instead of stdout.
    """
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, markup=False, emoji=False)


def folded(text: str, stream: TextIO) -> str:
    """A message as it is printed: where a terminal reads, lines break between words.

    Args:
        text: One line or several.
        stream: Where it will be printed.

    Returns:
        The text itself if the stream is not a terminal: another program gets whole lines.
    """
    if not stream.isatty():
        return text
    width = shutil.get_terminal_size().columns - 1
    lines = []
    for line in text.split("\n"):
        lines += textwrap.wrap(line, width, break_long_words=False, break_on_hyphens=False) or [""]
    return "\n".join(lines)


class StderrHandler(logging.StreamHandler):
    """Logs to what is stderr at the time: while a progress bar is drawn, above the bar."""

    def __init__(self):
        """Nothing is logged yet."""
        super().__init__(sys.stderr)
        self.seen: set[str] = set()  # texts of warnings that are logged once

    def emit(self, record: logging.LogRecord) -> None:
        """Log a line, unless it is one of those that are logged once.

        Args:
            record: The line.
        """
        if getattr(record, "once", False):
            if record.msg in self.seen:
                return
            self.seen.add(record.msg)
        self.stream = sys.stderr
        super().emit(record)

    def format(self, record: logging.LogRecord) -> str:
        """Format a line.

        Args:
            record: The line.
        """
        return folded(super().format(record), self.stream)


class OneLineFormatter(logging.Formatter):
    """Log lines in which nothing acts; those of this package are one line each."""

    def format(self, record: logging.LogRecord) -> str:
        """The record's text, on one line where it is unconcept's own.

        Args:
            record: Of any logger.

        Returns:
            Text without control characters; records of other libraries keep line breaks and tabs.
        """
        text = super().format(record)
        if record.name.partition(".")[0] == "unconcept":
            return one_line(text)
        return visible(text, keep="\n\t")
