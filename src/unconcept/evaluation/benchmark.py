"""The protocol of a benchmark, its prompts, and the groups that they belong to."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from torch import Tensor

from ..concepts.concept import Concept
from ..errors import InputError
from ..models.interface import Model

# Prompts that name the concept, name it by a synonym, or may imply it; near neighbours, and the
# rest.
GROUPS = ("target", "synonym", "implied", "neighbour", "unrelated")

# Values of `PromptCase.way`; "own" are the user's prompts.
PROMPT_STYLES = ("plain", "colour", "style", "scene", "own")


@dataclass(frozen=True)
class PromptCase:
    """One prompt of a benchmark.

    prompt   what the model is prompted with
    group    one of GROUPS
    name     the word that it is about: the erased concept, or what a neighbour or unrelated prompt
             names; "" for the user's own prompts
    way      how it is phrased, one of PROMPT_STYLES
    instead  the same prompt with the alternative in place of the concept; "" where there is none
    seed     of the initial noise; None: derived from the run's seed
    """

    prompt: str
    group: str
    name: str
    way: str = "plain"
    instead: str = ""
    seed: int | None = None


class Benchmark(Protocol):
    """Prompts about some concepts, and a judge of the images that a model makes of them.

    Images are passed in the order of `cases`, one per case.
    """

    @property
    def concepts(self) -> Sequence[Concept]:
        """The concepts that are erased, with synonyms and all else that is known of them."""
        ...

    @property
    def cases(self) -> Sequence[PromptCase]:
        """The prompts."""
        ...

    @property
    def judge_card(self) -> dict | None:
        """What report.json says of the judge; None where there is none."""
        ...

    def marks(self, images: Tensor) -> dict[str, Tensor]:
        """The judge's marks.

        Args:
            images: [N, 3, H, W] in [0, 1], one per case.

        Returns:
            By name ("concept", "alternative", "right", ...) [N] of 0, 1, or NaN where a mark does
            not apply; empty without a judge.
        """
        ...

    def values(self, images: Tensor) -> dict[str, Tensor]:
        """Other numbers of the judge, of which more is better.

        Args:
            images: [N, 3, H, W] in [0, 1], one per case.

        Returns:
            By name [N]; empty where there are none.
        """
        ...

    def real(self, group: str) -> Tensor | None:
        """Real images of what a group's prompts should show.

        Args:
            group: One of GROUPS.

        Returns:
            [M, 3, H, W] in [0, 1], the same ones every time; None where none are known.
        """
        ...


def read_prompts(path: Path) -> list[PromptCase]:
    """Read a user's own prompts.

    Args:
        path: A CSV file with the column prompt, and optionally seed (or evaluation_seed) and group
            ("target" where it is empty).

    Returns:
        One case per line.

    Raises:
        InputError: The file cannot be read, or a line of it is wrong.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            table = csv.DictReader(file)
            rows = [(table.line_num, row) for row in table]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    if not rows or "prompt" not in rows[0][1]:
        raise InputError(f"{path} needs a first line with the column names prompt, seed, group")
    return [_read_case(row, f"line {line} of {path}") for line, row in rows]


def _read_case(row: dict[str, str], where: str) -> PromptCase:
    if not (row["prompt"] or "").strip():
        raise InputError(f"{where}: the prompt is empty")
    group = row.get("group") or "target"
    if group not in GROUPS:
        raise InputError(f'{where}: unknown group "{group}"; groups are {", ".join(GROUPS)}')
    seed = row.get("seed") or row.get("evaluation_seed")
    try:
        number = int(float(seed)) if seed else None
    except (ValueError, OverflowError) as error:
        raise InputError(f'{where}: the seed "{seed}" is not a number') from error
    return PromptCase(row["prompt"], group, "", way="own", seed=number)


def truncation_warnings(model: Model, concepts: Sequence[Concept]) -> Iterator[str]:
    """Warn about prompts that the text encoder truncates.

    Args:
        model: Whose text encoder is used.
        concepts: Their prompts are checked.

    Yields:
        A line for each truncated prompt.
    """
    prompts = {prompt for concept in concepts for pair in concept.pairs() for prompt in pair}
    for prompt in prompts:
        if truncated := model.truncated_text(prompt):
            yield (
                f'the prompt "{prompt}" is longer than the text encoder takes; '
                f'this is cut: "{truncated}"'
            )
