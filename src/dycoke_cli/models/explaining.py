"""Errors as one sentence for a person."""

from __future__ import annotations

import errno
import sys

from dycoke_cli.errors import DEBUG, DycokeError, OutOfMemoryError, OutputError

# What `tempfile` says, which torch asks when it is imported.
_NO_TEMPORARY_FOLDER = "No usable temporary directory"


def explain(error: BaseException) -> DycokeError:
    """The error for a person that `error` amounts to."""
    if isinstance(error, DycokeError):
        return error
    if isinstance(error, MemoryError) or _is_torch_out_of_memory(error):
        return OutOfMemoryError(
            "memory ran out; use fewer --frames, a larger --merge-ratio or a smaller --model"
        )
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        where = f" at {error.filename}" if error.filename else ""
        return OutputError(f"the disk is full{where}; free some space and run it again")
    if isinstance(error, FileNotFoundError) and _NO_TEMPORARY_FOLDER in str(error):
        return OutputError(
            "there is no folder for temporary files; set TMPDIR to a folder that can be written"
        )
    said = " ".join(str(error).split())[:300]
    return DycokeError(
        f"something unexpected went wrong ({type(error).__name__}: {said}); "
        f"run it again with {DEBUG}=1 in the environment to see where"
    )


def _is_torch_out_of_memory(error: BaseException) -> bool:
    if "torch" not in sys.modules:
        return False
    from dycoke_cli.models.devices import is_out_of_memory

    return is_out_of_memory(error)
