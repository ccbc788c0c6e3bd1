"""Errors whose text is for the user: one line that says what to change."""

import reprlib

_brief = reprlib.Repr()
_brief.maxlevel = 2  # a YAML file of a few lines can hold lists of billions
_brief.maxlist = _brief.maxtuple = _brief.maxdict = _brief.maxset = 3
_brief.maxstring = _brief.maxother = 60


def brief(value: object) -> str:
    """A value as an error message shows it: its repr, cut short.

    Args:
        value: Any, such as what a YAML file holds.

    Returns:
        Two levels deep, three entries of each list or mapping, and about 60 characters of a text.
    """
    return _brief.repr(value)


class UnconceptError(Exception):
    """The base of all errors of this package; `exit_code` is the command line's."""

    exit_code = 1


class Terminated(BaseException):
    """The process received SIGTERM. This is not an error, and programs need not handle it."""


class InputError(UnconceptError, ValueError):
    """The input is wrong; nothing was written."""

    exit_code = 2


class UnknownShapesError(InputError):
    """The files do not say how large the model is: nothing can be estimated."""


class RunError(UnconceptError, RuntimeError):
    """The run failed; nothing was written."""

    exit_code = 1
