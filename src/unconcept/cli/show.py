"""What an edit, a report or a method is, in the terminal."""

import inspect
import json
from pathlib import Path

from rich.console import Console

from ..edits.edit import Edit
from ..errors import InputError
from .progress_bar import ProgressBar


def show(what: str) -> None:
    """`what`: an edit's file, report.json, a folder that `erase` wrote, a method's name, or "methods"."""
    console, path = Console(highlight=False), Path(what)
    if path.suffix == ".json" or (path / "report.json").exists():
        file = path if path.suffix == ".json" else path / "report.json"
        try:
            report = json.loads(file.read_text())
            ProgressBar().finish(report, file.parent)
        except (OSError, ValueError, KeyError) as error:
            raise InputError(f"{file} is no report of unconcept") from error
    elif path.exists():
        edit = Edit.load(path)
        for concept in edit.card.get("concepts", []):
            console.print(f"erases   {concept['erase']}" + (f" → {concept['alternative']}" if concept["alternative"] else ""))
        console.print(f"method   {edit.card.get('method')}\nmodel    sha256 {edit.card.get('model_sha256')}")
        tensors = edit.tensors()
        console.print(f"holds    {sum(t.numel() for t in tensors.values()):,} numbers in {len(tensors)} tensors")
        for name, tensor in tensors.items():
            console.print(f"  {name}  {list(tensor.shape)}  rms {tensor.square().mean().sqrt():.2e}", soft_wrap=True)
    else:
        show_method(what, console)


def show_method(what: str, console: Console) -> None:
    """A method's equation, cost and problems, and its settings; "methods": the first line of each."""
    from ..methods import METHODS

    about = {name: inspect.getdoc(inspect.getmodule(method)) or "" for name, method in METHODS.items()}
    if what == "methods":
        for name, text in about.items():
            console.print(f"{name:<18}{text.splitlines()[0]}", soft_wrap=True, markup=False)
    elif what in METHODS:
        console.print(f"{about[what]}\n\n{inspect.getdoc(METHODS[what])}", soft_wrap=True, markup=False)
    else:
        raise InputError(f'"{what}" is neither a file, a folder nor a method ({", ".join(METHODS)})')
