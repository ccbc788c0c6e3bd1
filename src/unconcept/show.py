"""What an edit, a report or a method is, in the terminal."""

import inspect
import json
from pathlib import Path

from rich.console import Console

from .edit import Edit
from .errors import InputError
from .progress import Bar

METHODS = ("all-but-one", "concept-ablation", "esd", "rece", "sdd", "uce")  # as in methods, which would bring torch along


def show(what: str) -> None:
    """`what`: an edit's file, report.json, a folder that `erase` wrote, or a method's name."""
    console, path = Console(highlight=False), Path(what)
    if what in METHODS:
        from .methods import METHODS as methods

        console.print(inspect.getdoc(inspect.getmodule(methods[what])), soft_wrap=True, markup=False)
        console.print(inspect.getdoc(methods[what]), soft_wrap=True, markup=False)
    elif path.suffix == ".json" or (path / "report.json").exists():
        file = path if path.suffix == ".json" else path / "report.json"
        try:
            report = json.loads(file.read_text())
            Bar().finish(report, file.parent)
        except (OSError, ValueError, KeyError) as error:
            raise InputError(f"{file} is no report of unconcept") from error
    elif path.exists():
        edit = Edit.load(path)
        for concept in edit.card.get("concepts", []):
            console.print(f"erases   {concept['erase']}" + (f" → {concept['alternative']}" if concept["alternative"] else ""))
        console.print(f"method   {edit.card.get('method')}\nmodel    sha256 {edit.card.get('model_sha256')}")
        console.print(f"changes  {sum(d.numel() for d in edit.deltas.values()):,} numbers in {len(edit.deltas)} tensors")
        for name, delta in edit.deltas.items():
            console.print(f"  {name}  {list(delta.shape)}  rms {delta.square().mean().sqrt():.2e}", soft_wrap=True)
    else:
        raise InputError(f'"{what}" is neither a file, a folder nor a method ({", ".join(METHODS)})')
