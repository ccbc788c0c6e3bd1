"""The command line as a process: signals, one-line errors, exit codes."""

import errno
import logging
import os
import signal
import sys

from cyclopts.exceptions import CycloptsError, UnknownCommandError

from ..errors import Terminated, UnconceptError
from ..io.text import OneLineFormatter, StderrHandler, folded, one_line
from ..io.whole_file import WRONG_PATHS, finished
from .commands import COMMANDS, app
from .suggestions import unknown_command

QUIET = {
    "TRANSFORMERS_VERBOSITY": "error",
    "DIFFUSERS_VERBOSITY": "error",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}


received: list[int] = []  # signals; a library may turn the exception of one into another


def terminate(*_) -> None:
    """SIGTERM ends the run as an exception, so that everything is cleaned up."""
    received.append(signal.SIGTERM)
    raise Terminated


def interrupt(*_) -> None:
    """SIGINT, as Python does it, and remembered."""
    received.append(signal.SIGINT)
    raise KeyboardInterrupt


def main() -> None:
    """Run the command line.

    Exit codes: 0 done, 1 the run failed, 2 the input is wrong, 3 the erasure did not work,
    130 interrupted, 143 terminated.
    """
    handler = StderrHandler()
    handler.setFormatter(OneLineFormatter("%(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    # diffusers imports bitsandbytes if it is installed, which then lists the kernels it misses.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    received.clear()
    finished.clear()
    debug = "--debug" in sys.argv
    signal.signal(signal.SIGTERM, terminate)
    signal.signal(signal.SIGINT, interrupt)
    try:
        sys.exit(app(sys.argv[1:], exit_on_error=False, print_error=False))
    except Terminated:
        end_early(signal.SIGTERM)
    except KeyboardInterrupt:
        end_early(signal.SIGINT)
    except Exception as error:
        if received:
            end_early(received[0])
        if debug:
            raise
        message, code = explain(error)
        print(folded(f"unconcept: {one_line(message)}", sys.stderr), file=sys.stderr)
        sys.exit(code)


def end_early(number: int) -> None:
    """Exit after a signal; a training that was running has been saved.

    Args:
        number: Of the signal.

    Raises:
        SystemExit: Always.
    """
    how = "interrupted" if number == signal.SIGINT else "terminated"
    trains = sys.argv[1:2] == ["erase"]
    resume = " (a training goes on with --resume)" if trains else ""
    from ..io.weights import user_cache

    written = [path for path in finished if path.exists() and user_cache() not in path.parents]
    line = f"{how}{resume}; no output was left behind"
    if written:
        line = f"{how}; {one_line(written[-1])} is complete"
    print(line, file=sys.stderr)
    sys.exit(128 + number)


def explain(error: Exception) -> tuple[str, int]:
    """The line that tells a user what went wrong, and the exit code.

    Args:
        error: What a command raised.

    Returns:
        (message, exit code).
    """
    if isinstance(error, UnconceptError):
        return str(error), error.exit_code
    if isinstance(error, UnknownCommandError) and error.unused_tokens:
        return str(unknown_command(error.unused_tokens[0], tuple(COMMANDS))), 2
    if isinstance(error, CycloptsError):
        return str(error), 2
    exhausted = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    if exhausted or "could not create a primitive" in str(error):
        return "out of memory: a --preset for less memory may fit (--preset list shows all)", 1
    if isinstance(error, OSError) and error.errno == errno.EMFILE:
        return "too many open files: raise the limit (ulimit -n)", 1
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"the disk is full{f': {error.filename}' if error.filename else ''}", 1
    if isinstance(error, OSError) and error.filename is not None and error.errno in WRONG_PATHS:
        return f"{error.filename}: {error.strerror}", 2
    return f"{type(error).__name__}: {error} (--debug shows where)", 1
