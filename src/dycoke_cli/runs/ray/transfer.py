"""Transfers a video from the machine where the run began to that of a worker, in chunks."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

from dycoke_cli.errors import DycokeError, VideoError
from dycoke_cli.unicode import display_name
from dycoke_cli.video.open_file import open_file

PIECE_BYTES = 8 * 1024**2


class Sender:
    """Reads the files of a run where they are, and no others; it knows nothing of Ray.

    Args:
        paths: of its videos and subtitles.
    """

    def __init__(self, paths: Collection[str]) -> None:
        self._paths = frozenset(paths)

    def piece(self, path: str, offset: int) -> bytes | DycokeError:
        """The bytes of a file from an offset on; none where it ends.

        An error is returned, not raised: on its way to another machine it would lose its kind.
        """
        if path not in self._paths:
            return VideoError(f"{display_name(path)} isn't a file of this run, so it isn't sent")
        try:
            with open_file(path) as file:
                file.seek(offset)
                return file.read(PIECE_BYTES)
        except DycokeError as error:
            return error
        except OSError as error:
            return VideoError(
                f"{display_name(path)} can't be read ({error.strerror}): check the disk it lies on"
            )


@contextmanager
def received(path: str, piece: Callable[[str, int], bytes | DycokeError]) -> Iterator[str]:
    """Within the block, a copy of a video on this machine.

    Args:
        path: where it is on the other one.
        piece: asks `Sender.piece` there.

    Raises:
        VideoError: it can't be read there.
        OSError: it can't be written here.
    """
    with tempfile.NamedTemporaryFile(prefix="dycoke-") as file:
        while content := piece(path, file.tell()):
            if isinstance(content, DycokeError):
                raise content
            file.write(content)
        file.flush()
        yield file.name
