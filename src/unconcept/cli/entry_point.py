"""The command line as a process: signals, one-line errors, exit codes. See commands.py."""

import logging
import os
import signal
import sys

from cyclopts.exceptions import CycloptsError

from ..errors import Terminated, UnconceptError
from .commands import app

QUIET = {
    "TRANSFORMERS_VERBOSITY": "error",
    "DIFFUSERS_VERBOSITY": "error",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}


def _terminate(*_) -> None:
    raise Terminated


def main() -> None:
    """Run the command line.

    Exit codes: 0 done, 1 the run failed, 2 the input is wrong, 3 the erasure did not work,
    130 interrupted, 143 terminated.
    """
    logging.basicConfig(format="%(message)s", level=logging.WARNING, stream=sys.stderr)
    # diffusers imports bitsandbytes if it is installed, which then lists the kernels it misses.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    debug = "--debug" in sys.argv
    signal.signal(signal.SIGTERM, _terminate)
    try:
        sys.exit(app(sys.argv[1:], exit_on_error=False, print_error=False))
    except Terminated:
        end_early("terminated", 143)
    except KeyboardInterrupt:
        end_early("interrupted", 130)
    except Exception as error:
        if debug:
            raise
        message, code = explain(error)
        print(f"unconcept: {' '.join(message.split())}", file=sys.stderr)
        sys.exit(code)


def end_early(how: str, code: int) -> None:
    """Exit after a signal; a training that was running has been saved.

    Args:
        how: What happened, for the line on stderr: "terminated" or "interrupted".
        code: Exit code: 128 plus the number of the signal.

    Raises:
        SystemExit: Always.
    """
    print(f"{how} (a training goes on with --resume); no output was left behind", file=sys.stderr)
    sys.exit(code)


def explain(error: Exception) -> tuple[str, int]:
    """The line that tells a user what went wrong, and the exit code.

    Args:
        error: What a command raised.

    Returns:
        (message, exit code).
    """
    if isinstance(error, UnconceptError):
        return str(error), error.exit_code
    if isinstance(error, CycloptsError):
        return str(error), 2
    return f"{type(error).__name__}: {error} (--debug shows where)", 1
