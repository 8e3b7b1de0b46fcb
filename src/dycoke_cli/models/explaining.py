"""Conversion of any exception to a `DycokeError` with one sentence for the user."""

from __future__ import annotations

import errno
import os
import sys

from dycoke_cli import plugins
from dycoke_cli.errors import DEBUG, DycokeError, OutOfMemoryError, OutputError, UsageError
from dycoke_cli.unicode import display_name

# Error of `tempfile`, which torch calls at import.
_NO_TEMPORARY_FOLDER = "No usable temporary directory"
_NOT_MAPPED = ("failed to map segment", "annot allocate memory", "annot create shared object")


def explain(error: BaseException) -> DycokeError:
    """Convert `error` to the `DycokeError` that is reported to the user."""
    if isinstance(error, DycokeError):
        return error
    if isinstance(error, MemoryError) or _is_torch_out_of_memory(error):
        return OutOfMemoryError(
            "memory ran out; use fewer frames, a larger --merge-ratio or a smaller --model"
        )
    # The linker's words, of libraries that are loaded under a limit of address space.
    if isinstance(error, ImportError) and any(text in str(error) for text in _NOT_MAPPED):
        return OutOfMemoryError(
            "memory ran out while libraries were loaded; raise the limit of address space "
            "(ulimit -v), or end other programs"
        )
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        where = f" at {error.filename}" if error.filename else ""
        return OutputError(f"the disk is full{where}; free some space and run it again")
    if isinstance(error, FileNotFoundError) and _NO_TEMPORARY_FOLDER in str(error):
        return OutputError(
            "there is no folder for temporary files; set TMPDIR to a folder that can be written"
        )
    if isinstance(error, FileNotFoundError) and not has_current_folder():
        return UsageError("the current folder was deleted: `cd` to another one, and run it again")
    text = " ".join(str(error).split())[:300]
    if (place := plugins.place_of(error)) is not None:
        return DycokeError(f"{display_name(place)} failed: {type(error).__name__}: {text}")
    return DycokeError(
        f"something unexpected went wrong ({type(error).__name__}: {text}); "
        f"run it again with {DEBUG}=1 in the environment to see where"
    )


def has_current_folder() -> bool:
    """Whether the current folder still exists."""
    try:
        os.getcwd()
    except FileNotFoundError:
        return False
    return True


def _is_torch_out_of_memory(error: BaseException) -> bool:
    if "torch" not in sys.modules:  # importing it takes a second, and it can't have raised
        return False
    from dycoke_cli.models.devices import is_out_of_memory

    return is_out_of_memory(error)
