"""Errors whose text is for the user: one line that says what to change. `exit_code` is the command line's."""


class UnconceptError(Exception):
    exit_code = 1


class Terminated(BaseException):
    """Somebody asked the process to end (SIGTERM): no error, and nothing that a program would handle."""


class InputError(UnconceptError, ValueError):
    """The input is wrong; nothing was written."""

    exit_code = 2


class RunError(UnconceptError, RuntimeError):
    """The run failed; nothing was kept."""

    exit_code = 1
