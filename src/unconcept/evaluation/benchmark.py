"""Benchmark protocol, prompt groups, user prompts"""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..concepts.concept import Concept
from ..errors import InputError
from ..models.interface import Model

GROUPS = ("target", "synonym", "implied", "neighbour", "unrelated")

PROMPT_STYLES = ("plain", "colour", "style", "scene", "own")  # in which a question may ask


@dataclass(frozen=True)
class PromptCase:
    """A prompt of one group about one word, for models whose answers nobody knows beforehand."""

    prompt: str
    group: str
    name: str
    way: str = "plain"
    instead: str = ""
    seed: int | None = None


def read_prompts(path: Path) -> list[PromptCase]:
    """The user's own prompts: a CSV file with the column prompt, and if wanted seed and group (target where it is not said)."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            table = csv.DictReader(file)
            rows = [(table.line_num, row) for row in table]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    if not rows or "prompt" not in rows[0][1]:
        raise InputError(f"{path} needs a first line with the column names prompt, seed, group")
    asks = []
    for line, row in rows:
        if not (row["prompt"] or "").strip():
            raise InputError(f"line {line} of {path}: the prompt is empty")
        group, seed = row.get("group") or "target", row.get("seed") or row.get("evaluation_seed")
        if group not in GROUPS:
            raise InputError(f'line {line} of {path}: the group "{group}" is none of {", ".join(GROUPS)}')
        try:
            asks.append(PromptCase(row["prompt"], group, "", way="own", seed=int(float(seed)) if seed else None))
        except (ValueError, OverflowError) as error:
            raise InputError(f'line {line} of {path}: the seed "{seed}" is no number') from error
    return asks


def truncation_warnings(net: Model, concepts: Sequence[Concept]) -> Iterator[str]:
    """A line for each phrasing that the text encoder cuts."""
    for prompt in {prompt for concept in concepts for pair in concept.pairs() for prompt in pair}:
        if lost := net.truncated_text(prompt):
            yield f'the prompt "{prompt}" is longer than the text encoder takes; this is cut: "{lost}"'
