"""What commands print on stdout at their end."""

import json
import sys
import textwrap
from pathlib import Path

from ...config.options import Printout


def wrapped(line: str) -> str:
    """A line of the dry run, broken at 79 columns with an indent of 9 if stdout is a terminal.

    Args:
        line: Without line breaks.
    """
    if not sys.stdout.isatty():
        return line
    return "\n".join(textwrap.wrap(line, 79, subsequent_indent=" " * 9))


def print_result(result: dict, out: Path, printout: Printout) -> int:
    """Print what a run found.

    Args:
        result: The content of report.json.
        out: The run's folder.
        printout: As JSON, in twenty lines, or in full.

    Returns:
        The exit code: 0, or 3 when the erasure did not work.
    """
    if printout.json:
        print_json(result)
    else:
        from ...reporting.terminal import print_report

        print_report(result, out, full=printout.full)
    return 3 if result["failure"] else 0


def print_json(content: dict) -> None:
    """Print a JSON object on stdout.

    Args:
        content: The object.
    """
    print(json.dumps(content, indent=1))
