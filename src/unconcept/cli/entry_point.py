"""The command line as a process: signals, errors in one line, exit codes. What it can do is in commands.py."""

import logging
import os
import signal
import sys

from cyclopts.exceptions import CycloptsError

from ..errors import Terminated, UnconceptError
from .commands import app


def _terminated(*_) -> None:
    raise Terminated


def main() -> None:
    """Exit codes: 0 done, 1 the run failed, 2 the input is wrong, 3 the erasure did not work, 130 interrupted, 143 terminated."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING, stream=sys.stderr)
    # diffusers imports it where it is there, and it says which kernels it has not.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    for name, value in {
        "TRANSFORMERS_VERBOSITY": "error",
        "DIFFUSERS_VERBOSITY": "error",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }.items():
        os.environ.setdefault(name, value)
    debug = "--debug" in sys.argv
    signal.signal(signal.SIGTERM, _terminated)
    try:
        sys.exit(app(sys.argv[1:], exit_on_error=False, print_error=False))
    except Terminated:
        print("terminated; no output was left behind, a training goes on with --resume", file=sys.stderr)
        sys.exit(143)
    except KeyboardInterrupt:
        print("interrupted; no output was left behind", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        if debug:
            raise
        clear = isinstance(error, UnconceptError | CycloptsError)
        line = str(error).strip() if clear else f"{type(error).__name__}: {error} (--debug shows where)"
        print(f"unconcept: {' '.join(line.split())}", file=sys.stderr)
        sys.exit(error.exit_code if isinstance(error, UnconceptError) else 2 if isinstance(error, CycloptsError) else 1)
