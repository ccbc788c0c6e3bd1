"""The protocol of a benchmark, its prompts, and the groups that they belong to."""

import copy
import csv
import difflib
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from torch import Tensor

from ..concepts.concept import Concept
from ..config.ranges import check_numbers
from ..errors import InputError
from ..models.interface import Model

if TYPE_CHECKING:
    from typing_extensions import Self

log = logging.getLogger(__name__)

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


@dataclass(frozen=True)
class Judgement:
    """A judge's answer for one image, or for a clip.

    name           what it sees; "" where it sees none of the names it chose from; of a clip what it
                   sees in most frames
    probabilities  of the names that matter: those of the concepts and alternatives, what the prompt
                   names, and the likeliest ones; of a clip their means over the frames
    frames         of a clip the answer for each frame; () for an image
    """

    name: str
    probabilities: dict[str, float]
    frames: tuple["Judgement", ...] = ()


class Benchmark(Protocol):
    """Prompts about some concepts, and a judge of the images that a model makes of them.

    Images are passed in the order of `cases`, one per case. The benchmark of a text-to-video model
    (`ClipBenchmark`) receives clips [N, F, 3, H, W] in their place, and its marks are of clips.
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
        """The judge's entry in report.json; None without a judge."""
        ...

    def with_cases(self, cases: Sequence[PromptCase]) -> "Benchmark":
        """The same concepts and the same judge with other prompts.

        Args:
            cases: Of its kind, any number.
        """
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

    def judgements(self, images: Tensor) -> list[Judgement]:
        """The judge's answer for each image.

        Args:
            images: [N, 3, H, W] in [0, 1], one per case.

        Returns:
            N judgements; empty without a judge.
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


class OtherCases:
    """`with_cases` of a benchmark that keeps its prompts in a list."""

    cases: list

    def with_cases(self, cases: Sequence[PromptCase]) -> "Self":
        """The same concepts and the same judge with other prompts.

        Args:
            cases: Of its kind, any number.
        """
        other = copy.copy(self)
        other.cases = list(cases)
        return other


def part_of(benchmark: Benchmark, places: Sequence[int]) -> Benchmark:
    """The same benchmark with some of its cases.

    Args:
        benchmark: Prompts and judge.
        places: Of the cases; one may be named several times.
    """
    return benchmark.with_cases([benchmark.cases[i] for i in places])


def read_prompts(path: Path) -> list[PromptCase]:
    """Read a user's own prompts.

    Args:
        path: A CSV file in UTF-8 with the column prompt, and optionally seed (or evaluation_seed,
            or I2P's sd_seed) and group ("target" where it is empty). Cells are separated by commas,
            semicolons or tabs. Other columns are not used, which is logged.

    Returns:
        One case per line.

    Raises:
        InputError: The file cannot be read, a column is nearly one of these, or a line is wrong.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            first = file.readline()
            file.seek(0)
            reader = csv.reader(file, delimiter=_delimiter(first))
            rows = [(reader.line_num, row) for row in reader if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    if len(rows) < 2:
        raise InputError(f"{path} needs {COLUMN_NAMES}, and a line for each prompt")
    columns = _find_columns(rows[0][1], path)
    width = len(rows[0][1])
    cases = []
    for line, row in rows[1:]:
        where = f"line {line} of {path}"
        if any(cell.strip() for cell in row[width:]):
            raise InputError(
                f"{where} has {len(row)} cells, the first line {width}: "
                "put a prompt that has a comma in it into quotes"
            )
        cells = [*row, *[""] * (width - len(row))]
        cases.append(_read_case({name: cells[i] for name, i in columns.items()}, where))
    return cases


COLUMN_NAMES = "a first line with the column names prompt, seed, group"

# Other names of a column; the first that is there is used.
COLUMNS = {
    "prompt": ("prompt",),
    "seed": ("seed", "evaluation_seed", "sd_seed"),
    "group": ("group",),
}


def _delimiter(first: str) -> str:
    """What separates the cells of a file, by its first line."""
    for delimiter in (",", ";", "\t"):
        cells = next(csv.reader([first], delimiter=delimiter), [])
        if "prompt" in [column_name(cell) for cell in cells]:
            return delimiter
    return ","


def column_name(cell: str) -> str:
    """The name of a column: in small letters, without blanks around it.

    Args:
        cell: A cell of the first line of a CSV file, perhaps in quotation marks: " Evaluation
            Seed".

    Returns:
        "evaluation_seed".
    """
    return "_".join(cell.strip().strip('"').casefold().split())


def _find_columns(header: Sequence[str], path: Path) -> dict[str, int]:
    """Where the columns are that are used, by their name in COLUMNS."""
    names = [column_name(cell) for cell in header]
    places: dict[str, int] = {}
    for column, aliases in COLUMNS.items():
        for alias in aliases:
            if names.count(alias) > 1:
                raise InputError(f'{path} has the column "{alias}" twice: keep one')
            if alias in names:
                places.setdefault(column, names.index(alias))
    known = [alias for aliases in COLUMNS.values() for alias in aliases]
    unused = []
    for i, name in enumerate(names):
        if not name or i in places.values():
            continue
        similar = difflib.get_close_matches(name, known, 1, 0.75)
        if similar and name not in known:
            raise InputError(f'unknown column "{name}" in {path}: did you mean "{similar[0]}"?')
        unused.append(name)
    if "prompt" not in places:
        raise InputError(f"{path} needs {COLUMN_NAMES}")
    if unused:
        log.warning("columns of %s that are not used: %s", path, ", ".join(unused))
    return places


def _read_case(row: Mapping[str, str], where: str) -> PromptCase:
    if not row["prompt"].strip():
        raise InputError(f"{where}: the prompt is empty")
    group = row.get("group", "").strip().casefold() or "target"
    if group not in GROUPS:
        similar = difflib.get_close_matches(group, GROUPS, 1, 0.6)
        hint = f'did you mean "{similar[0]}"? ' if similar else ""
        raise InputError(f'{where}: unknown group "{group}"; {hint}groups are {", ".join(GROUPS)}')
    return PromptCase(
        row["prompt"], group, "", way="own", seed=read_seed(row.get("seed", ""), where)
    )


def read_seed(text: str, where: str) -> int | None:
    """Read a seed as it stands: through a float a large one would become another.

    Args:
        text: Its digits, after which ".0" may follow as pandas writes it; blank for none.
        where: Where it stands, for the error.

    Raises:
        InputError: It is not a whole number, or out of range.
    """
    text = text.strip()
    if not text:
        return None
    match = re.fullmatch(r"([+-]?[0-9]{1,40})(\.0*)?", text, re.ASCII)
    if not match:
        raise InputError(f'{where}: the seed "{text}" is not a whole number')
    try:
        check_numbers(seed=int(match[1]))
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    return int(match[1])


def truncation_warnings(model: Model, concepts: Sequence[Concept]) -> Iterator[str]:
    """Warn about a concept's prompts that the text encoder truncates.

    Args:
        model: Whose text encoder is used.
        concepts: Their prompts are checked.

    Yields:
        One line, if there are any.
    """
    prompts: dict[str, None] = {}  # in their order, each once
    for concept in concepts:
        for pair in concept.pairs():
            prompts.update(dict.fromkeys(pair))
    truncated = {}
    for prompt in prompts:
        if ignored := model.truncated_text(prompt):
            truncated[prompt] = ignored
    for prompt, ignored in list(truncated.items())[:1]:
        yield (
            f"{len(truncated)} of {len(prompts)} prompts of the concept are longer than the text "
            f'encoder reads; in "{prompt}" this part is ignored: "{ignored}"'
        )
