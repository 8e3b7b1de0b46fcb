"""Whatever goes wrong, as one sentence for a person and an exit code for a program."""

from __future__ import annotations

import errno
import os
import sys

from dycoke_cli.cli.text import one_line
from dycoke_cli.errors import DycokeError, OutOfMemoryError, OutputError

DEBUG = "DYCOKE_DEBUG"
"""Set to anything, unexpected errors show their traceback."""


class Interrupted(DycokeError):
    """The user pressed Ctrl-C."""

    code = "interrupted"
    exit_code = 130


class Reported(Exception):
    """A failure that stdout already has an object for; stderr still needs its line."""

    def __init__(self, reason: DycokeError) -> None:
        super().__init__(str(reason))
        self.reason = reason


def explain(error: BaseException) -> DycokeError:
    """The error for a person that `error` amounts to."""
    if isinstance(error, DycokeError):
        return error
    if isinstance(error, KeyboardInterrupt):
        return Interrupted("interrupted")
    if isinstance(error, MemoryError) or _is_torch_out_of_memory(error):
        return OutOfMemoryError(
            "memory ran out; use fewer --frames, a larger --merge-ratio or a smaller --model"
        )
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        where = f" at {error.filename}" if error.filename else ""
        return OutputError(f"the disk is full{where}; free some space and run it again")
    return DycokeError(
        f"something unexpected went wrong ({type(error).__name__}: {one_line(str(error))[:300]}); "
        f"run it again with {DEBUG}=1 in the environment to see where"
    )


def _is_torch_out_of_memory(error: BaseException) -> bool:
    if "torch" not in sys.modules:
        return False
    from dycoke_cli.engine.out_of_memory import is_out_of_memory

    return is_out_of_memory(error)


def say(error: DycokeError) -> None:
    """One line on stderr; if even that can't be written, the exit code has to do."""
    message = "Interrupted" if isinstance(error, Interrupted) else f"Error: {one_line(str(error))}"
    try:
        print(message, file=sys.stderr, flush=True)
    except OSError:
        return


def debugging() -> bool:
    """Whether tracebacks are wanted."""
    return bool(os.environ.get(DEBUG))
