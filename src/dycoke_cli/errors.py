"""Exceptions shown to the user as one sentence, each with an exit code and an error code."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import ClassVar

__all__ = [
    "ContextError", "DycokeError", "ModelError", "OutOfMemoryError", "OutputError", "UsageError",
    "VideoError",
]  # fmt: skip

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


class ContextError(UsageError):
    """A prompt and its answer don't fit the model's context."""


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


def check_kind(value: object, kinds: type | tuple[type, ...], wanted: str) -> None:
    """Check the class of what somebody gave in Python, where a wrong one would fail far from here.

    Args:
        wanted: the sentence up to "not …": what was to be given.
    """
    if isinstance(value, kinds):
        return
    shown = f"a {type(value).__name__}"
    if isinstance(value, type):
        shown = f"the class {value.__name__}"
    elif isinstance(value, str | int | float):
        shown = repr(value)[:60]
    raise UsageError(f"{wanted}, not {shown}")


# Letters per typing error: "mimi" is "mini", and "samples" isn't "shapes".
_PER_ERROR = 4
_KINDS = (UsageError, VideoError, ModelError, OutOfMemoryError, OutputError)
_BY_CODE = {kind.code: kind for kind in _KINDS}


def error_of(code: str, message: str) -> DycokeError:
    """Rebuild the exception from an `error` object of `--json`; other codes give the base."""
    return _BY_CODE.get(code, DycokeError)(message)


@contextmanager
def naming(what: str) -> Iterator[None]:
    """Begin usage errors of the block with what they are about, such as a flag."""
    try:
        yield
    except UsageError as error:
        raise UsageError(f"{what}: {error}") from error


def did_you_mean(name: str, known: Iterable[str], otherwise: str) -> str:
    """End of an error about an unknown name: the closest known one, or `otherwise`."""
    near = closest(name, known)
    return otherwise if near is None else f"did you mean {near}?"


def closest(name: str, known: Iterable[str]) -> str | None:
    """The first known name that a word begins, or that it must be mistyped; None without one."""
    # Dashes in front of flags aren't letters that two of them have in common.
    word, by_letters = _letters(name), dict[str, str]()
    for one in known:
        by_letters.setdefault(_letters(one), one)
    begun = (one for one in by_letters if word and one.startswith(word))
    if near := next(begun, ""):  # nothing in it is wrong
        return by_letters[near]
    most = (len(word) + 1) // _PER_ERROR
    # The time of a comparison is the product of the lengths, whose difference is so many errors.
    alike = (one for one in by_letters if abs(len(one) - len(word)) <= most)
    near = min(alike, key=lambda one: _typing_errors(word, one), default="")
    return by_letters[near] if near and _typing_errors(word, near) <= most else None


def _letters(name: str) -> str:
    return name.lstrip("-").lower().replace("_", "-")


def _typing_errors(one: str, other: str) -> int:
    """Letters added, missing, wrong or swapped with the next (optimal string alignment)."""
    older, before, row = [0], [0], [*range(len(other) + 1)]
    for i, a in enumerate(one, 1):
        older, before, row = before, row, [i]
        for j, b in enumerate(other, 1):
            row.append(min(before[j] + 1, row[-1] + 1, before[j - 1] + (a != b)))
            if i > 1 and j > 1 and (a, b) == (other[j - 2], one[i - 2]):
                row[j] = min(row[j], older[j - 2] + 1)
    return row[-1]


def debugging() -> bool:
    """Whether tracebacks are shown."""
    return bool(os.environ.get(DEBUG))


def how_to_install(extra: str) -> str:
    """Shell command that installs the packages of an extra."""
    return f'pip install "dycoke-cli[{extra}]"'


def how_to_upgrade(package: str) -> str:
    """Shell command that installs the newest release of a package."""
    return f"pip install --upgrade {package}"


def need(package: str, extra: str, what: str) -> None:
    """Check that a package can be imported."""
    if find_spec(package) is None:
        raise ModelError(
            f"{what} needs the package {package}, which isn't installed: {how_to_install(extra)}"
        )
