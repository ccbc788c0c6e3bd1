"""The nearest right name for a wrong one: words, commands, files. Nothing here imports torch."""

import difflib
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..errors import InputError


def nearest(word: str, choices: Iterable[str], cutoff: float = 0.4) -> str | None:
    """The choice that looks most like a word.

    Args:
        word: What was typed.
        choices: What could have been typed.
        cutoff: Similarity in [0, 1] that the choice must reach.

    Returns:
        One of `choices`, of equally similar ones that with the same beginning; None if none is
        similar enough.
    """
    matches = difflib.get_close_matches(word, list(choices), 3, cutoff)
    if not matches:
        return None

    def likeness(choice: str) -> tuple[float, bool]:
        ratio = difflib.SequenceMatcher(None, choice, word).ratio()
        return ratio, choice[0] == word[0]

    return max(matches, key=likeness)


def unknown_name(kind: str, name: str, choices: Sequence[str]) -> InputError:
    """The error for a name that is not one of a few.

    Args:
        kind: What the name is of: "method", "preset".
        name: What was typed.
        choices: Every right name.

    Returns:
        An error that suggests the nearest name and lists them all.
    """
    match = nearest(name, choices)
    suggestion = f'did you mean "{match}"? ' if match else ""
    return InputError(f'unknown {kind} "{name}": {suggestion}The choices are {", ".join(choices)}')


def unknown_command(word: str, commands: Sequence[str]) -> InputError:
    """The error for a first word that is not a command.

    Args:
        word: What was typed.
        commands: Every command.

    Returns:
        An error that suggests the nearest command, or else to erase the word as a concept.
    """
    match = nearest(word, commands, cutoff=0.6)
    suggestion = f'did you mean "{match}"? ' if match else ""
    if not match and word.strip():
        from ..models.emoji.vocabulary import LEXICON, WORDS

        concept = misspelled(word.lower(), (*WORDS, *LEXICON)) or word
        suggestion = f"to erase a concept: unconcept erase {shlex.quote(concept)}. "
    return InputError(
        f'unknown command "{word}": {suggestion}The commands are {", ".join(commands)}'
    )


def edits_beside(path: Path, most: int = 5) -> list[str]:
    """Folders of erasures where a path was looked for.

    Args:
        path: Of an edit that is not there.
        most: Largest number of names.

    Returns:
        Their names, the newest first.
    """
    files = sorted(path.parent.glob("*/edit.safetensors"), key=modified, reverse=True)
    return [file.parent.name for file in files[:most]]


def modified(file: Path) -> float:
    """When a file was written.

    Args:
        file: A path that existed.

    Returns:
        Seconds; 0 if it is gone.
    """
    try:
        return file.stat().st_mtime
    except OSError:
        return 0.0


def similar_sibling(path: Path) -> str:
    """ ": did you mean ...?" with the name in the same folder that looks most like the path's.

    Args:
        path: A path that does not exist. Its folder need not exist either.

    Returns:
        The end of an error message; "" where no name in the folder is similar.
    """
    try:
        names = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        return ""
    match = nearest(path.name, names, cutoff=0.6)
    return f": did you mean {path.parent / match}?" if match else ""


def misspelled(word: str, vocabulary: Sequence[str]) -> str | None:
    """The known word that a word is a misspelling of.

    Args:
        word: In small letters.
        vocabulary: Every known word.

    Returns:
        The known word at the smallest edit distance: at most 1 for words of up to five letters,
        2 for longer ones. None if the word is known or resembles no known one.
    """
    if word in vocabulary:
        return None
    limit = 1 if len(word) <= 5 else 2
    close = []
    for known in vocabulary:
        if abs(len(known) - len(word)) <= limit:
            close.append((edit_distance(word, known), known))
    distance, match = min(close, default=(limit + 1, ""))
    return match if distance <= limit else None


def edit_distance(a: str, b: str) -> int:
    """Letters to insert, delete, replace or swap with their neighbour to turn `a` into `b`.

    Args:
        a: A word.
        b: Another word.

    Returns:
        The optimal string alignment distance, from 0 (equal) to the length of the longer word.
    """
    rows = [list(range(len(b) + 1))]
    for i, letter in enumerate(a, 1):
        row = [i]
        for j, other in enumerate(b, 1):
            cost = min(row[-1] + 1, rows[-1][j] + 1, rows[-1][j - 1] + (letter != other))
            if i > 1 and j > 1 and (letter, other) == (b[j - 2], a[i - 2]):
                cost = min(cost, rows[-2][j - 2] + 1)
            row.append(cost)
        rows.append(row)
    return rows[-1][-1]
