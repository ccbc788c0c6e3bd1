"""`unconcept show`."""

from typing import Annotated

from cyclopts import Parameter

from ...config.options import OUTPUT, WHAT
from .shared_options import Debug


def show(
    what: Annotated[
        str,
        Parameter(
            group=WHAT,
            help='An edit, a report or its folder, the name of a method, or "methods" for a list.',
        ),
    ],
    /,
    *,
    debug: Debug = False,
    full: Annotated[bool, Parameter(group=OUTPUT, help="Print every score of a report.")] = False,
) -> int:
    """Show an edit, a report (or its folder), what a method does, or the list of methods."""
    from ..show import show as run

    run(what, full)
    return 0
