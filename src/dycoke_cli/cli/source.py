"""Reads the video: the file that was named, or what comes from stdin."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from dycoke_cli.errors import UsageError

if TYPE_CHECKING:
    from dycoke_cli.video import Clip, Sampling

STDIN = "-"


def read_video(
    video: str, sampling: Sampling, on_progress: Callable[[int, int], None] | None = None
) -> Clip:
    """Read the frames that `sampling` asks for.

    Raises:
        UsageError: the video should come from stdin, and nothing can; or the sampling doesn't fit.
        VideoError: it can't be read.
    """
    from dycoke_cli.video import STDIN_NAME, read, spool

    if video != STDIN:
        return read(video, sampling, on_progress=on_progress)
    if sys.stdin is None:
        raise UsageError("stdin is closed; name a video file, or pipe one in")
    with spool(sys.stdin.buffer) as path:
        return read(path, sampling, shown_as=STDIN_NAME, on_progress=on_progress)
