"""Exceptions shown to the user as one sentence, each with an exit code and an error code."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import ClassVar

DEBUG = "DYCOKE_DEBUG"
"""Environment variable; if set, unexpected errors show their traceback."""


class DycokeError(Exception):
    """Base of all errors that a command prints as one sentence."""

    code: ClassVar[str] = "failed"  # `code` of the `error` object of `--json`
    exit_code: ClassVar[int] = 1  # the exit status of the process


class UsageError(DycokeError, ValueError):
    """A parameter is out of range, or a combination isn't supported."""

    code = "usage"
    exit_code = 2


class VideoError(DycokeError):
    """The video can't be read."""

    code = "video_unreadable"
    exit_code = 3


class ModelError(DycokeError):
    """The model can't be found or loaded."""

    code = "model_unavailable"
    exit_code = 4


class OutOfMemoryError(DycokeError):
    """Accelerator or main memory ran out."""

    code = "out_of_memory"
    exit_code = 5


class OutputError(DycokeError):
    """The output can't be written."""

    code = "output_failed"
    exit_code = 6


# Of difflib: "mimi" is "mini", and "mine" isn't "maxmin".
_ALIKE = 0.75
_KINDS = (UsageError, VideoError, ModelError, OutOfMemoryError, OutputError)
_BY_CODE = {kind.code: kind for kind in _KINDS}


def error_of(code: str, message: str) -> DycokeError:
    """Rebuild the exception from an `error` object of `--json`; other codes give the base."""
    return _BY_CODE.get(code, DycokeError)(message)


def did_you_mean(name: str, known: Iterable[str], otherwise: str) -> str:
    """End of an error about an unknown name: the closest known one, or `otherwise`."""
    near = closest(name, known)
    return otherwise if near is None else f"did you mean {near}?"


def closest(name: str, known: Iterable[str]) -> str | None:
    """The known name that a misspelt one must be, or the first that it begins; None without one."""
    import difflib  # imported late: for errors alone

    # Dashes in front of flags aren't letters that two of them have in common.
    by_letters = {one.lstrip("-").lower(): one for one in reversed([*known])}
    word = name.lstrip("-").lower()
    near = difflib.get_close_matches(word, by_letters, 1, _ALIKE)
    near += [one for one in reversed(by_letters) if word and one.startswith(word)]
    return by_letters[near[0]] if near else None


def debugging() -> bool:
    """Whether tracebacks are shown."""
    return bool(os.environ.get(DEBUG))
