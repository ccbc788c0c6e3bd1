"""What the benchmarks share: arguments, results that are computed once, and cells of a table.

A benchmark runs on the GPU if there is one; CUDA_VISIBLE_DEVICES= (empty) selects the CPU. Start
its command several times, and the processes share the work: each skips what another one computes.
Results are stored in benchmarks/results, one file each, and result_pages.py writes the tables of
docs/results from them. To measure again, remove the stored file.
"""

import argparse
import contextlib
import fcntl
import json
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from unconcept import AllButOne, Tune
from unconcept.cli.method_settings import settings_for_model
from unconcept.evaluation.metrics.proportions import proportion
from unconcept.evaluation.scores import find_score
from unconcept.reporting.report import format_value

RESULTS = Path(__file__).parent / "results"

# All but One trained once for 100 steps, without the closed form: its default when the pages of
# docs/results were measured, and the baseline for settings of the training.
TRAINED = AllButOne(start="none", rounds=1, tune=Tune(steps=100))

# Scores that most tables show, as (name, group of prompts).
COLUMNS = (
    ("concept", "target"),
    ("concept", "synonym"),
    ("alternative", "target"),
    ("right", "neighbour"),
    ("right", "unrelated"),
)


def arguments(
    doc: str | None, name: str, n: int | None, **more: dict[str, Any]
) -> argparse.Namespace:
    """Parse --n (images per group; None: no such option), --out, and `more` options in the form of
    argparse.
    """
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    if n is not None:
        parser.add_argument("--n", type=int, default=n)
    parser.add_argument("--out", type=Path, default=RESULTS / name, help="the folder of results")
    for option, settings in more.items():
        parser.add_argument(f"--{option}", **settings)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    return given


def once(file: Path, make: Callable[[], Any] | None) -> Any:
    """The result in `file`, computed now if the file does not exist. None without `make`, and while
    another process is computing it.
    """
    file = plain(file)
    with alone(file) as first:
        if not file.exists():
            if make is None or not first:
                return None
            text = json.dumps(make())
            part = file.with_suffix(".part")
            part.write_text(text)
            part.replace(file)
            print(file.stem, flush=True)
    return json.loads(file.read_text())


def plain(file: Path) -> Path:
    """The path with a name that needs no quotes in a shell. Its folder is created."""
    file.parent.mkdir(parents=True, exist_ok=True)
    return file.with_name(file.name.replace(" ", "-").replace(",", "").replace("'", ""))


@contextlib.contextmanager
def alone(file: Path) -> Iterator[bool]:
    """Yield whether this process alone holds the lock of the file. The operating system releases
    the lock of a process that dies.
    """
    lock = file.with_name(f".{file.name}.lock")
    with lock.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
            lock.unlink(missing_ok=True)


def as_given(method: str) -> Any:
    """The method as the command line runs it on the embedded model."""
    return settings_for_model(method, "emoji")


def last_line(command: Sequence[str]) -> Any:
    """What a command prints as its last line, read as JSON."""
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return json.loads(output.splitlines()[-1])


def machine() -> str:
    """The name of the GPU, or the number of CPU cores."""
    return (
        torch.cuda.get_device_name()
        if torch.cuda.is_available()
        else f"{torch.get_num_threads()} CPU cores"
    )


def cell(row: dict | None, value: str = "value") -> str:
    """ "97 % [92 % – 99 %], n 100" of a row of scores, or of a proportion."""
    if row is None or row[value] is None:
        return "–"
    name = row.get("name", "right")
    interval = " – ".join(format_value(end, name) for end in row["ci95"])
    text = f"{format_value(row[value], name)} [{interval}], n {row['n']}"
    return text if row.get("before") is None else f"{format_value(row['before'], name)} → {text}"


def score_cells(scores: Any, columns: Sequence[tuple[str, str]]) -> list[str]:
    """What each score is after the erasure.

    Args:
        scores: Of a result.
        columns: (name, group of prompts) of each score.
    """
    return [cell(find_score(scores, *column), "after") for column in columns]


def print_row(cells: Sequence[str]) -> None:
    """Print one row of a table, at once."""
    print("| " + " | ".join(cells) + " |", flush=True)


def pooled(rows: Sequence[dict | None], value: str = "value") -> dict | None:
    """The share over the images of several concepts."""
    present = [row for row in rows if row]
    marks = [float(i < round(row[value] * row["n"])) for row in present for i in range(row["n"])]
    return proportion(torch.tensor(marks)) if marks else None


def head(columns: list[str]) -> list[str]:
    """The first two lines of a table."""
    return ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
