"""The application: its name, its help and its commands, in the order of a run."""

from typing import Any

from cyclopts import App, Parameter

from .attacks import attack
from .comparison import compare
from .descriptions import show
from .erasure import erase
from .evaluation import evaluate
from .file_export import export
from .generation import generate
from .purification import purify


def default_in_help(value: Any) -> Any:
    """What `--help` shows as an option's default: nothing for switches that are off.

    Args:
        value: The option's default.

    Returns:
        The default; None, which hides it, for False and for an empty tuple.
    """
    return None if value is False or value == () else value


app = App(
    name="unconcept",
    help="Cut one concept out of a text-to-image or text-to-video diffusion model, leave the rest "
    "as it was, and prove both.",
    suppress_keyboard_interrupt=False,  # main() has its own line for it
    default_parameter=Parameter(negative=(), show_default=default_in_help),
)

COMMANDS = {
    "erase": erase,
    "evaluate": evaluate,
    "attack": attack,
    "compare": compare,
    "generate": generate,
    "purify": purify,
    "export": export,
    "show": show,
}

for name, function in COMMANDS.items():
    app.command(function, name=name)
