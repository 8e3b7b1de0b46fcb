"""Transfers a video from the machine where the run began to a worker's machine, in chunks."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

from dycoke_cli.errors import DycokeError, VideoError
from dycoke_cli.storage.output_file import temporary_folder
from dycoke_cli.unicode import display_name
from dycoke_cli.video.files import open_file

CHUNK_BYTES = 8 * 1024**2


class Sender:
    """Reads the files of a run, and no others, for workers on other machines."""

    def __init__(self) -> None:
        self._paths = set[str]()

    def add(self, paths: Collection[str]) -> None:
        """Let files be read from now on."""
        self._paths.update(paths)

    def chunk(self, path: str, offset: int) -> bytes | DycokeError:
        """Bytes of a file from an offset on; empty at its end.

        An error is returned, not raised: Ray would wrap it in an exception of its own.
        """
        if path not in self._paths:
            return VideoError(f"{display_name(path)} isn't a file of this run, so it isn't sent")
        try:
            with open_file(path) as file:
                file.seek(offset)
                return file.read(CHUNK_BYTES)
        except DycokeError as error:
            return error
        except OSError as error:
            return VideoError(
                f"{display_name(path)} can't be read ({error.strerror}): check the disk it lies on"
            )


@contextmanager
def received(path: str, chunk: Callable[[str, int], bytes | DycokeError]) -> Iterator[str]:
    """A local copy of a video for the length of the block."""
    with temporary_folder() as folder:
        copy = os.path.join(folder, "video")
        with open(copy, "wb") as file:
            while content := chunk(path, file.tell()):
                if isinstance(content, DycokeError):
                    raise content
                file.write(content)
        yield copy
