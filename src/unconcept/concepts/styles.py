"""Styles: artists by movement, and media, by the names that prompts use for them.

They are listed in styles.json, as "van Gogh / Vincent van Gogh": what prompts call the style, then
its other names. Media that resemble each other stand together. In each movement the artists who
died before 1955 come first: their works are in the public domain in most countries.
"""

import functools
import json
from pathlib import Path

DATA = Path(__file__).parent / "styles.json"

NEIGHBOURS = 24


@functools.cache
def read() -> dict[str, dict[str, list[str]]]:
    """The packaged lists: "artists" and "media", each by group."""
    return json.loads(DATA.read_text(encoding="utf-8"))


def artists() -> dict[str, list[str]]:
    """Movement -> artists."""
    return read()["artists"]


def media() -> dict[str, list[str]]:
    """Group -> media and styles."""
    return read()["media"]


@functools.cache
def table() -> dict[str, tuple[str, ...]]:
    """Every name in lower case -> all names of that artist or style, the usual one first."""
    names_of = {}
    for group in (*artists().values(), *media().values()):
        for entry in group:
            names = tuple(entry.split(" / "))
            for name in names:
                names_of[name.lower()] = names
    return names_of


def names_of(style: str) -> tuple[str, ...]:
    """All names of an artist or style.

    Args:
        style: One of its names, in capitals or not.

    Returns:
        The usual name first; () for those that are not listed.
    """
    return table().get(style.lower(), ())


def is_artist(style: str) -> bool:
    """Is a name one of the listed artists'?

    Args:
        style: Any of an artist's names, in capitals or not.

    Returns:
        False for media such as "watercolor", and for artists who are not listed.
    """
    names = names_of(style)
    return bool(names) and any(
        names[0] == entry.partition(" / ")[0] for group in artists().values() for entry in group
    )


def neighbours(style: str, n: int = NEIGHBOURS) -> list[str]:
    """Other artists or styles: half of them of the same movement, the rest from all groups.

    Args:
        style: Any style. Of one that is not listed nothing is known but that it is a style.
        n: How many are wanted.

    Returns:
        Their usual names.
    """
    usual = names_of(style)[:1]
    near: list[str] = []
    rest: list[list[str]] = []
    for groups in (artists(), media()) if is_artist(style) else (media(), artists()):
        for group in groups.values():
            names = [entry.partition(" / ")[0] for entry in group]
            if usual and usual[0] in names:
                near = [name for name in names if name != usual[0]]
            else:
                rest.append(names)
    chosen = near[: n // 2]
    for place in range(max(len(names) for names in rest)):
        chosen += [names[place] for names in rest if place < len(names)]
    return chosen[:n]
