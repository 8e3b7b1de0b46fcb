"""Plan which frames of a video to read: its packets tell, without decoding more than the first."""

from __future__ import annotations

from dataclasses import dataclass, replace

from dycoke_cli.errors import OutOfMemoryError, VideoError
from dycoke_cli.resources import free_main_memory
from dycoke_cli.video.probe import Geometry, VideoInfo, describe
from dycoke_cli.video.sampling import Sampling, Window, wanted_times, window
from dycoke_cli.video.source import VideoSource
from dycoke_cli.video.span import measure_span, times_between

MAX_CLIP_BYTES = 2 * 1024**3
# Beside the frames: those that the decoder refers to, the pictures before and after a wanted time,
# and the one that is converted. Measured: 7.5 of the size of a frame for GIF.
_WORKING_PICTURES = 8


@dataclass(frozen=True)
class Plan:
    """Which frames would be read, found without decoding more than the first.

    Attributes:
        times_s: wanted times in seconds from the first frame, ascending; the frames nearest to
            them are read, each once, so there may be fewer frames.
        info: what is known of the video, its `duration_s` measured.
        warnings: one sentence each.
        memory_bytes: that reading them takes, about: the frames, and what is needed to decode them.
    """

    times_s: tuple[float, ...]
    info: VideoInfo
    warnings: tuple[str, ...]
    memory_bytes: int


def plan_of(source: VideoSource, sampling: Sampling) -> tuple[Plan, Geometry, Window]:
    """Find the wanted frames of an open video by its packets.

    Args:
        source: the video.
        sampling: which frames.

    Returns:
        The plan, the size of a picture, and the part of the video that frames are from.

    Raises:
        VideoError: the frames would take too much memory.
        UsageError: the sampling doesn't fit the video.
    """
    info, geometry = describe(source)
    span = measure_span(source)
    part = window(sampling, span.last_s, span.end_s, float(source.interval))
    times, warning = wanted_times(sampling, part)
    if sampling.fps is None:
        # Evenly spread times would miss some frames of a short part where they are bunched.
        times = times_between(source, part.first_s, part.end_s, sampling.frames) or times
    _check_memory(source.name, geometry.shown_size, len(times), sampling)
    warnings = [warning] if warning else []
    if span.declared_end_s is not None:
        warnings.append(
            f"{source.name} ends at {span.end_s:.1f} s of {span.declared_end_s:.1f} s: "
            "it is cut off, and only what is there was used"
        )
    if info.hdr:
        warnings.append(
            f"{source.name} is an HDR video: its colours are not tone-mapped and look paler than "
            "on a screen"
        )
    info = replace(info, duration_s=span.end_s, frame_count=info.frame_count or span.frames)
    width, height = geometry.shown_size
    memory_bytes = (len(times) + _WORKING_PICTURES) * width * height * 3
    return Plan(times, info, tuple(warnings), memory_bytes), geometry, part


def check_free_memory(name: str, plan: Plan) -> None:
    """Make sure that the frames of a plan can be read without memory running out.

    Raises:
        OutOfMemoryError: less is free than reading them takes.
    """
    free = free_main_memory()
    if free is None or plan.memory_bytes <= free:
        return
    size = picture_size((plan.info.width, plan.info.height))
    count = "1 frame" if len(plan.times_s) == 1 else f"{len(plan.times_s)} frames"
    raise OutOfMemoryError(
        f"to read {count} of {name} ({size}) takes {plan.memory_bytes / 1024**3:.1f} GiB of "
        f"memory, and {free / 1024**3:.1f} GiB are free: use fewer frames, or scale it down first"
    )


def _check_memory(name: str, size: tuple[int, int], count: int, sampling: Sampling) -> None:
    width, height = size
    picture_bytes = width * height * 3
    if count * picture_bytes <= MAX_CLIP_BYTES:
        return
    most = MAX_CLIP_BYTES // picture_bytes
    advice = f"--frames to {most}" if sampling.fps is None else f"--fps, or --max-frames to {most}"
    needed, limit = count * picture_bytes / 1024**3, MAX_CLIP_BYTES / 1024**3
    raise VideoError(
        f"{count} frames of {name} ({picture_size(size)}) take {needed:.1f} GiB, above the limit "
        f"of {limit:g} GiB: lower {advice}"
    )


def picture_size(size: tuple[int, int]) -> str:
    """Width and height in pixels, as people write them."""
    return f"{size[0]}×{size[1]}"
