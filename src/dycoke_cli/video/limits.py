"""How much memory and time a video may take to read; importing it imports no PyAV."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from dycoke_cli.errors import OutOfMemoryError, VideoError
from dycoke_cli.param import Param, check_all
from dycoke_cli.resources import free_main_memory, parse_size

MAX_PICTURE_PIXELS = 64_000_000
MAX_KEPT_PIXELS = 4096 * 2160
"""Of a frame as it is read: 4K. Larger pictures are scaled down to it as they are converted."""
MAX_HELD_PIXELS = 8192 * 4320
"""Of a decoded picture that waits to be chosen: 8K."""
MAX_CLIP_BYTES = 2 * 1024**3
MAX_AUDIO_BYTES = 128 * 1024**2
"""Of the audio of a video: half an hour of 16,000 samples per second."""
OPENING_BYTES = 512 * 1024**2
"""For what a container says of itself, before its first picture is decoded."""
# Of the memory that is free: the model wants some, too.
_SHARE_OF_FREE = 0.5


@dataclass(frozen=True)
class Limits:
    """What the process that reads a video is held to."""

    time_limit: Annotated[
        float, Param("Seconds in which a video must be read.", above=0, metavar="SECONDS")
    ] = 600.0
    memory_limit: Annotated[
        int | None,
        Param(
            "Memory that reading a video may take, such as 4GB.",
            default="half of what is free",
            metavar="SIZE",
            read=parse_size,
        ),
    ] = None

    def __post_init__(self) -> None:
        check_all(self)

    @property
    def memory_bytes(self) -> int | None:
        """What may be taken now; None where that isn't limited, and the system doesn't say."""
        if self.memory_limit is not None:
            return self.memory_limit
        free = free_main_memory()
        return None if free is None else int(_SHARE_OF_FREE * free)

    def check_memory(self, name: str, size: tuple[int, int], needed: int, frames: int = 0) -> None:
        """Make sure that a video can be read without memory running out.

        Args:
            name: of the video, fit for a terminal.
            size: width and height of its pictures, in pixels.
            needed: bytes.
            frames: that are to be read; 0 where its first picture is to be decoded.

        Raises:
            OutOfMemoryError: that is more than may be taken.
        """
        allowed = self.memory_bytes
        if allowed is None or needed <= allowed:
            return
        what = "1 frame" if frames == 1 else f"{frames} frames" if frames else "a frame"
        fewer = "use fewer frames, " if frames > 1 else ""
        may = "may be taken" if self.memory_limit else "may be taken, half of what is free"
        raise OutOfMemoryError(
            f"to read {what} of {name} ({picture_size(size)}) takes {needed / 1024**3:.1f} GiB of "
            f"memory, and {allowed / 1024**3:.1f} GiB {may}: {fewer}scale it down first, or raise "
            "--memory-limit"
        )


def check_size(name: str, width: int, height: int) -> None:
    """Refuse pictures above the pixel limit.

    Raises:
        VideoError: the sentence that says so, and what to do.
    """
    if width * height > MAX_PICTURE_PIXELS:
        raise VideoError(
            f"{name} has pictures of {width}×{height}, above the limit of "
            f"{MAX_PICTURE_PIXELS // 1_000_000} megapixels: scale it down first"
        )


def check_clip(name: str, size: tuple[int, int], count: int, by_rate: bool) -> None:
    """Refuse more frames than may be held at once.

    Args:
        name: of the video, fit for a terminal.
        size: width and height of a frame as it is read.
        count: of the frames.
        by_rate: whether so many a second were asked for.

    Raises:
        VideoError: the sentence that says so, and what to do.
    """
    picture_bytes = size[0] * size[1] * 3
    needed = count * picture_bytes
    if needed <= MAX_CLIP_BYTES:
        return
    most = MAX_CLIP_BYTES // picture_bytes
    advice = f"--fps, or --max-frames to {most}" if by_rate else f"--frames to {most}"
    raise VideoError(
        f"{count} frames of {name} ({picture_size(size)}) take {needed / 1024**3:.1f} GiB, above "
        f"the limit of {MAX_CLIP_BYTES / 1024**3:g} GiB: lower {advice}"
    )


def picture_size(size: tuple[int, int]) -> str:
    """Width and height in pixels, as people write them."""
    return f"{size[0]}×{size[1]}"
