"""What an edit, a report or a method is, in the terminal."""

import ast
import inspect
import json
from pathlib import Path

from rich.console import Console

from ..errors import InputError
from ..methods import METHODS, table
from .input_checks import nearest, similar_sibling

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
    console, path = Console(highlight=False), Path(what)
    report = path if path.suffix == ".json" else path / "report.json"
    if report.exists():
        show_report(report, full)
    elif path.exists():
        show_edit(path, console)
    else:
        show_method(what, console)


def show_report(file: Path, full: bool) -> None:
    """Print the end of a run once more.

    Args:
        file: Its report.json.
        full: Every score.

    Raises:
        InputError: The file is not a report.
    """
    from ..reporting.terminal import print_report

    try:
        report = json.loads(file.read_text())
        print_report(report, file.parent, full=full)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file} is not a report of unconcept") from error


def show_edit(path: Path, console: Console) -> None:
    """Print what an edit erases, by which method, and its tensors.

    Args:
        path: Its file or folder.
        console: Where to print.
    """
    from ..edits.edit import Edit

    edit = Edit.load(path)
    for concept in edit.card.get("concepts", []):
        alternative = f" → {concept['alternative']}" if concept["alternative"] else ""
        console.print(f"erases   {concept['erase']}{alternative}")
    console.print(f"method   {edit.card.get('method')}")
    console.print(f"model    sha256 {edit.card.get('model_sha256')}")
    tensors = edit.tensors()
    count = sum(tensor.numel() for tensor in tensors.values())
    console.print(f"holds    {count:,} numbers in {len(tensors)} tensors")
    for name, tensor in tensors.items():
        rms = tensor.square().mean().sqrt()
        console.print(f"  {name}  {list(tensor.shape)}  rms {rms:.2e}", soft_wrap=True)


def show_method(what: str, console: Console) -> None:
    """Print a method's equation, cost, problems and hyperparameters.

    Args:
        what: The method's name; "methods" for the first line of each.
        console: Where to print.

    Raises:
        InputError: There is no such method; the nearest name is suggested.
    """
    if what == "methods":
        for name, text in method_texts().items():
            console.print(f"{name:<18}{text.splitlines()[0]}", soft_wrap=True, markup=False)
    elif what in METHODS:
        text = f"{method_text(what)}\n\n{inspect.getdoc(METHODS[what])}"
        console.print(text, soft_wrap=True, markup=False)
    else:
        match = nearest(what, ["methods", *METHODS], cutoff=0.5)
        suggestion = f': did you mean "{match}"?' if match else similar_sibling(Path(what))
        raise InputError(
            f'"{what}" is neither a file, a folder nor a method{suggestion or "."} '
            f"The methods are {', '.join(METHODS)}"
        )


def method_text(name: str) -> str:
    """The docstring of a method's module, read without importing it."""
    module, _ = METHODS.classes[name]
    source = METHODS_FOLDER / f"{module}.py"
    return ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or ""


def method_texts() -> dict[str, str]:
    return {name: method_text(name) for name in METHODS}
