"""Opens the video: the file that was named, or what comes from stdin."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dycoke_cli.errors import UsageError

if TYPE_CHECKING:
    from dycoke_cli.video import Reader, Sampling

STDIN = "-"


@contextmanager
def open_clip_of(video: str, sampling: Sampling) -> Iterator[Reader]:
    """Open the video and find the frames that `sampling` asks for.

    Raises:
        UsageError: the video should come from stdin, and nothing can; or the sampling doesn't fit.
        VideoError: it can't be read.
    """
    from dycoke_cli.video import STDIN_NAME, open_clip, spool

    if video != STDIN:
        with open_clip(video, sampling) as reader:
            yield reader
        return
    if sys.stdin is None:
        raise UsageError("stdin is closed; name a video file, or pipe one in")
    with (
        spool(sys.stdin.buffer) as path,
        open_clip(path, sampling, shown_as=STDIN_NAME) as reader,
    ):
        yield reader
