"""What an edit, a report or a method is, in the terminal."""

import ast
import inspect
import json
from pathlib import Path

from ..errors import InputError
from ..io.text import plain_console, visible
from ..methods import METHODS, table
from .input_checks import check_edit, exists
from .suggestions import nearest, similar_sibling

# What reading a file leads to that is not a report, or was changed by hand.
NOT_A_REPORT = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    RecursionError,
)

METHODS_FOLDER = Path(table.__file__).parent


def show(what: str, full: bool = False) -> None:
    """Print what something is.

    Args:
        what: An edit's file, report.json, a folder that `erase` wrote, a method's name, or
            "methods".
        full: Every score of a report.

    Raises:
        InputError: It is none of these.
    """
    path = Path(what)
    report = path if path.suffix == ".json" else path / "report.json"
    if exists(report, "the report"):
        show_report(report, full)
    elif exists(path, "the edit"):
        show_edit(path)
    else:
        show_method(what)


def show_report(file: Path, full: bool) -> None:
    """Print the end of a run once more.

    Args:
        file: Its report.json.
        full: Every score.

    Raises:
        InputError: The file is not a report.
    """
    from ..reporting.terminal import print_attacks, print_eraseeval, print_report

    try:
        report = json.loads(file.read_text(encoding="utf-8"))
        if report.get("kind") in ("attack", "eraseeval"):
            is_attack = report["kind"] == "attack"
            (print_attacks if is_attack else print_eraseeval)(report, file.parent)
            return
        print_report(report, file.parent, full=full)
    except NOT_A_REPORT as error:
        raise InputError(f"{file} is not a report of unconcept") from error


def show_edit(path: Path) -> None:
    """Print what an edit erases, by which method, and its tensors.

    Args:
        path: Its file or folder.
    """
    from ..edits.edit import Edit

    check_edit(path, "the edit")
    edit = Edit.load(path)
    lines = []
    for concept in edit.card.get("concepts", []):
        alternative = concept.get("alternative")
        lines.append(f"erases   {concept['erase']}{f' → {alternative}' if alternative else ''}")
    lines.append(f"method   {edit.card.get('method')}")
    lines.append(f"model    sha256 {edit.card.get('model_sha256')}")
    tensors = edit.tensors()
    count = sum(tensor.numel() for tensor in tensors.values())
    lines.append(f"holds    {count:,} numbers in {len(tensors)} tensors")
    ranks = sorted(tensor.shape[1] for name, tensor in tensors.items() if name.endswith(":up"))
    if ranks:
        span = f"{ranks[0]}" if ranks[0] == ranks[-1] else f"{ranks[0]} to {ranks[-1]}"
        lines.append(f"rank     {span}, of {len(ranks)} weights")
    heading = ""
    for name, tensor in tensors.items():
        parts = name.split(".")
        module = ".".join(parts[:-2])
        if module != heading:
            heading = module
            lines.append(f"  {module}")
        rms = tensor.square().mean().sqrt()
        lines.append(f"    {'.'.join(parts[-2:]):<24} {list(tensor.shape)!s:<14} rms {rms:.2e}")
    console = plain_console()
    for line in lines:
        console.print(visible(line), soft_wrap=True)


def show_method(what: str) -> None:
    """Print a method's equation, cost, problems and hyperparameters.

    Args:
        what: The method's name; "methods" for the first line of each.

    Raises:
        InputError: There is no such method; the nearest name is suggested.
    """
    console = plain_console()
    if what == "methods":
        for name, text in method_texts().items():
            console.print(f"{name:<18}{text.splitlines()[0]}", soft_wrap=True)
    elif what in METHODS:
        text = f"{method_text(what)}\n\n{inspect.getdoc(METHODS[what])}"
        console.print(text, soft_wrap=True)
    else:
        match = nearest(what, ["methods", *METHODS], cutoff=0.5)
        suggestion = f': did you mean "{match}"?' if match else similar_sibling(Path(what))
        raise InputError(
            f'"{what}" is neither a file, a folder nor a method{suggestion or "."} '
            f"The methods are {', '.join(METHODS)}"
        )


def method_text(name: str) -> str:
    """The docstring of a method's module, read without importing it.

    Args:
        name: A key of `METHODS`, for example "all-but-one".

    Returns:
        The docstring's text; "" where the module has none.
    """
    module, _ = METHODS.classes[name]
    source = METHODS_FOLDER / f"{module}.py"
    return ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or ""


def method_texts() -> dict[str, str]:
    """What `show METHOD` prints, for every method."""
    return {name: method_text(name) for name in METHODS}
