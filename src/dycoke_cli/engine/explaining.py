"""Any exception as a `DycokeError` with one sentence for the user.

While a model answers, memory may run out, its files may not fit each other, which shows only when
they are used, or the device fails.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dycoke_cli import plugins
from dycoke_cli.errors import DEBUG, DycokeError, ModelError, OutOfMemoryError, OutputError
from dycoke_cli.unicode import display_name

if TYPE_CHECKING:
    from dycoke_cli.models.load import LoadedModel


def explain(error: BaseException) -> DycokeError:
    """Convert `error` to the `DycokeError` that is reported to the user."""
    from dycoke_cli.models.devices import is_out_of_memory  # no help page needs it

    if isinstance(error, DycokeError):
        return error
    if is_out_of_memory(error):
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


# Errors with a sentence already, of files and pipes, and ways to end a thread or a generator.
_PASSED_ON = (DycokeError, OSError, KeyboardInterrupt, SystemExit, GeneratorExit)


@contextmanager
def faults_of(loaded: LoadedModel) -> Iterator[None]:
    """Turn what libraries raise about a model's configuration or weights into one sentence.

    Not of the bundled model: its files are part of this package, so an error there is a bug. Nor of
    a plug-in: `explain` says where in it.
    """
    try:
        yield
    except _PASSED_ON:
        raise
    except BaseException as error:  # a panic of a library in Rust is no Exception
        explained = explain(error)
        if isinstance(explained, OutOfMemoryError):
            raise explained from error
        bundled = loaded.entry is not None and loaded.entry.repo is None
        if bundled or plugins.place_of(error) is not None:
            raise
        text = " ".join(str(error).split())[:160]
        cause = f"{type(error).__name__}: {text}" if text else type(error).__name__
        raise ModelError(
            f"{loaded.name} failed while it answered ({cause}): its files may not fit each other "
            f"(download it again), or the device {loaded.device} failed (--device cpu); run it "
            f"with {DEBUG}=1 in the environment to see where"
        ) from error
