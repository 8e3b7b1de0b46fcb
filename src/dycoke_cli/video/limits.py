"""Limits of memory and time for reading a video; imports no PyAV."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

from dycoke_cli.errors import OutOfMemoryError, UsageError, VideoError
from dycoke_cli.param import Options, Param, check_all
from dycoke_cli.resources import free_main_memory, parse_size

MAX_PICTURE_PIXELS = 64_000_000
MAX_SIDE = 65_535
"""Maximum width and height of a frame: those of a JPEG."""
MAX_KEPT_PIXELS = 4096 * 2160
"""Maximum size of a frame in RGB: 4K. Larger frames are scaled down during conversion."""
MAX_CLIP_BYTES = 2 * 1024**3
MAX_SUBTITLE_BYTES = 16 * 1024**2
"""Maximum size of the subtitles that are displayed at the sampled frames, as JSON."""
RATE = 16_000
"""Samples of sound per second, which speech models read."""
MAX_SAMPLES, MINUTE = 4 * RATE, 60 * RATE
"""Samples of sound that are sent at once at most, and that are heard at once at least."""
MAX_PLAN_BYTES = 4 * 1024**2
"""Maximum size of a plan as JSON: that of 100,000 frames has half of it."""
MAX_WARNINGS = 100
"""Maximum number of warnings about a video."""
OPENING_BYTES = 512 * 1024**2
"""Memory for reading a container's headers, before the first frame is decoded."""
MAX_ENTRIES = 5_000_000
"""Maximum number of entries in the index of a stream: a day of 57 frames per second."""
# CPU seconds to open a video, up to its first frame, however small its file is.
_OPENING_CPU_S = 20.0
# More of them, for a large file (10 µs a packet), and for frames that are decoded before the first
# one that is wanted.
_BYTES_PER_CPU_S, _CPU_S_PER_SECOND = 10e6, 4.0
# Default limit, as a share of free memory. The rest is for the model.
_SHARE_OF_FREE = 0.5


@dataclass(frozen=True)
class Limits(Options):
    """Limits of the process that reads a video."""

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

    require_sandbox: Annotated[
        bool,
        Param(
            "Read videos only where the system keeps their process from files, network and other "
            "processes (Linux with seccomp; `dycoke doctor` says what holds here).",
        ),
    ] = False

    def __post_init__(self) -> None:
        check_all(self)

    def opening_cpu_s(self, nbytes: int, start_s: float = 0.0) -> float:
        """CPU seconds in which a file of so many bytes is opened, up to a frame at a time.

        A higher time limit raises them, too.
        """
        seconds = _OPENING_CPU_S + nbytes / _BYTES_PER_CPU_S + start_s * _CPU_S_PER_SECOND
        return seconds * max(1.0, self.time_limit / Limits.time_limit)

    @property
    def memory_bytes(self) -> int | None:
        """Current memory limit; None if none is set and the free memory is unknown."""
        if self.memory_limit is not None:
            return self.memory_limit
        free = free_main_memory()
        return None if free is None else int(_SHARE_OF_FREE * free)

    def check_sandbox(self, means: tuple[str, ...]) -> None:
        """Check that a process is as isolated as it must be."""
        from dycoke_cli.processes.sandbox import REFUSES_ALL, described

        if self.require_sandbox and REFUSES_ALL not in means:
            raise UsageError(
                "--require-sandbox: the process that reads videos isn't sandboxed here (it takes "
                f"Linux with seccomp on x86-64 or AArch64, and {described(means)} holds); leave it "
                "out, or allow seccomp in the container"
            )

    def check_memory(self, name: str, size: tuple[int, int], needed: int, frames: int = 0) -> None:
        """Check that reading a video doesn't exceed the memory limit.

        Args:
            needed: bytes.
            frames: number of frames to read; 0 for decoding the first frame.
        """
        allowed = self.memory_bytes
        if allowed is None or needed <= allowed:
            return
        what = "1 frame" if frames == 1 else f"{frames} frames" if frames else "a frame"
        fewer = "use fewer frames, " if frames > 1 else ""
        may = "may be taken" if self.memory_limit else "may be taken, half of what is free"
        raise OutOfMemoryError(
            f"to read {what} of {name} ({size[0]}×{size[1]}) takes {needed / 1024**3:.1f} GiB of "
            f"memory, and {allowed / 1024**3:.1f} GiB {may}: {fewer}scale it down first, or raise "
            "--memory-limit"
        )


def check_size(name: str, width: int, height: int, most: int = MAX_PICTURE_PIXELS) -> None:
    """Check the pixel limit of a frame.

    Args:
        most: pixels, where several frames share a limit.
    """
    if max(width, height) > MAX_SIDE:
        raise VideoError(
            f"{name} has pictures of {width}×{height}, above the limit of {MAX_SIDE:,} pixels per "
            "side: scale it down first"
        )
    if width * height > most:
        fewer = "" if most >= MAX_PICTURE_PIXELS else ", or read fewer frames"
        raise VideoError(
            f"{name} has pictures of {width}×{height}, above the limit of "
            f"{most / 1e6:.3g} megapixels: scale it down first{fewer}"
        )


def check_entries(name: str, count: int) -> None:
    """Check the number of entries in the index of a stream."""
    if count > MAX_ENTRIES:
        raise VideoError(
            f"the index of {name} has more than {MAX_ENTRIES:,} entries: convert it, or divide it "
            "into shorter files"
        )


def padded(pixels: int) -> int:
    """Pixels of a frame as FFmpeg counts them, with the padding of its rows (up to 63 pixels)."""
    return pixels + 2 * 64 * math.isqrt(pixels)


def check_clip(name: str, size: tuple[int, int], count: int, by_rate: bool) -> None:
    """Check the memory limit of all frames together."""
    picture_bytes = size[0] * size[1] * 3
    needed = count * picture_bytes
    if needed <= MAX_CLIP_BYTES:
        return
    most = MAX_CLIP_BYTES // picture_bytes
    advice = f"--fps, or --max-frames to {most}" if by_rate else f"--frames to {most}"
    raise VideoError(
        f"{count} frames of {name} ({size[0]}×{size[1]}) take {needed / 1024**3:.1f} GiB, above "
        f"the limit of {MAX_CLIP_BYTES / 1024**3:g} GiB: lower {advice}"
    )


def size_within(width: int, height: int, pixels: int) -> tuple[int, int]:
    """Width and height of a frame, scaled down if it has more than a number of pixels."""
    if width * height <= pixels:
        return width, height
    scale = math.sqrt(pixels / (width * height))
    return max(1, int(scale * width)), max(1, int(scale * height))
