"""From flags to which frames are read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dycoke_cli.errors import UsageError

if TYPE_CHECKING:
    from dycoke_cli.video import Sampling


def sampling(
    *,
    frames: int | None,
    fps: float | None,
    max_frames: int | None,
    start: str | None,
    end: str | None,
    stream: int | None,
) -> Sampling:
    """Which frames to read.

    Raises:
        UsageError: a value out of range, or two that contradict each other.
    """
    from dycoke_cli.video import Sampling, parse_time

    if frames is not None and fps is not None:
        raise UsageError("--frames and --fps exclude each other; use one of them")
    counted = {} if frames is None else {"frames": frames}
    return Sampling(
        **counted,
        fps=fps,
        max_frames=max_frames,
        start_s=None if start is None else parse_time(start),
        end_s=None if end is None else parse_time(end),
        stream=stream,
    )
