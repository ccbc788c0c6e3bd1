"""Messages in a terminal and in a log."""

import io
import logging
import sys

from unconcept.io.text import ONCE, StderrHandler, folded

MESSAGE = "a path/that/is-long and words " * 5


class Terminal(io.StringIO):
    """A stream that a person reads."""

    def isatty(self) -> bool:
        return True


def test_lines_break_between_words_where_a_terminal_reads(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    assert folded(MESSAGE, io.StringIO()) == MESSAGE
    lines = folded(MESSAGE, Terminal()).split("\n")
    assert len(lines) > 1
    assert all(len(line) < 40 for line in lines)
    assert " ".join(lines) == MESSAGE.strip()


def test_a_word_that_is_longer_than_a_line_stays_whole(monkeypatch):
    monkeypatch.setenv("COLUMNS", "10")
    assert folded("see path/to-some/folder", Terminal()).split("\n") == [
        "see",
        "path/to-some/folder",
    ]


def test_what_is_logged_once_and_where_it_goes(monkeypatch):
    """Stderr is looked up for every line: a progress bar replaces it while it is drawn."""
    log = logging.Logger("unconcept.test")
    log.addHandler(StderrHandler())
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    for count in (1, 2):
        log.warning("%d prompts are long", count, extra=ONCE)
        log.warning("%d files are unused", count)
    assert stream.getvalue().splitlines() == [
        "1 prompts are long",
        "1 files are unused",
        "2 files are unused",
    ]
