"""Conversion of any exception to a `DycokeError` with one sentence for the user."""

from __future__ import annotations

import errno
import sys

from dycoke_cli import plugins
from dycoke_cli.errors import DEBUG, DycokeError, OutOfMemoryError, OutputError
from dycoke_cli.unicode import display_name


def explain(error: BaseException) -> DycokeError:
    """Convert `error` to the `DycokeError` that is reported to the user."""
    if isinstance(error, DycokeError):
        return error
    if isinstance(error, MemoryError) or _is_torch_out_of_memory(error):
        return OutOfMemoryError(
            "memory ran out; use fewer frames, a larger --merge-ratio or a smaller --model"
        )
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        where = f" at {error.filename}" if error.filename else ""
        return OutputError(f"the disk is full{where}; free some space and run it again")
    text = " ".join(str(error).split())[:300]
    if (place := plugins.place_of(error)) is not None:
        return DycokeError(f"{display_name(place)} failed: {type(error).__name__}: {text}")
    return DycokeError(
        f"something unexpected went wrong ({type(error).__name__}: {text}); "
        f"run it again with {DEBUG}=1 in the environment to see where"
    )


def _is_torch_out_of_memory(error: BaseException) -> bool:
    if "torch" not in sys.modules:  # importing it takes a second, and it can't have raised
        return False
    from dycoke_cli.models.devices import is_out_of_memory

    return is_out_of_memory(error)
