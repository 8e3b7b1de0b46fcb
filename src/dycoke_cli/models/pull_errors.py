"""What can go wrong while a model is downloaded, in one sentence each."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from dycoke_cli.errors import ModelError, OutputError
from dycoke_cli.models.resolve import Source, explained, unreachable


@contextmanager
def pull_explained(source: Source) -> Iterator[None]:
    """Turn what the hub client raises into one sentence; see `source.explained`.

    Raises:
        OutputError: the disk is full.
        ModelError: in place of any other error.
    """
    with explained(source, "its files"):
        try:
            yield
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise OutputError(
                    f"the disk is full; free some space and pull {source.name} again (the files "
                    "that are finished are kept)"
                ) from error
            if unreachable(error):
                raise _offline(source) from error
            raise
        except Exception as error:
            if unreachable(error):
                raise _offline(source) from error
            raise


def _offline(source: Source) -> ModelError:
    return ModelError(
        f"{source.location} can't be pulled, for the hub can't be reached; connect, and unset "
        "HF_HUB_OFFLINE if it is set (the files that are finished are kept)"
    )
