"""Errors whose text is for the user: one line that says what to change."""


class UnconceptError(Exception):
    """The base of all errors of this package; `exit_code` is the command line's."""

    exit_code = 1


class Terminated(BaseException):
    """The process was asked to end (SIGTERM): not an error, and nothing that a program handles."""


class InputError(UnconceptError, ValueError):
    """The input is wrong; nothing was written."""

    exit_code = 2


class UnknownShapesError(InputError):
    """The files do not say how large the model is: nothing can be estimated."""


class RunError(UnconceptError, RuntimeError):
    """The run failed; nothing was written."""

    exit_code = 1
