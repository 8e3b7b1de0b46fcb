"""Open a container and choose the video stream in it."""

from __future__ import annotations

import os

import av
from av.stream import Disposition

from dycoke_cli.errors import UsageError, VideoError

_STILLS = Disposition.attached_pic | Disposition.timed_thumbnails
# FFmpeg draws text files as a terminal would show them; nobody who names one means that.
_NOT_VIDEOS = ("tty",)


def open_container(path: str | os.PathLike[str], name: str) -> av.container.InputContainer:
    """Open a file for reading.

    Args:
        path: the file; FFmpeg's other protocols are shut off, so that a playlist can't reach out.
        name: what to call it in errors.

    Raises:
        VideoError: it isn't a video.
    """
    try:
        # The prefix keeps a name such as "concat:a|b" or "-" from meaning anything else.
        container = av.open(
            "file:" + os.fsdecode(path),
            options={"protocol_whitelist": "file"},
            metadata_errors="replace",
        )
    except (av.FFmpegError, OSError, ValueError) as error:
        raise VideoError(
            f"{name} isn't a video that can be read: it is another kind of file, "
            "or it is damaged at its start"
        ) from error
    if container.format.name in _NOT_VIDEOS:
        container.close()
        raise VideoError(f"{name} is a text, not a video: name a video file")
    return container


def choose_stream(
    container: av.container.InputContainer, index: int | None, name: str
) -> av.VideoStream:
    """Choose the video stream to read: the one with this index in the container, or the best.

    Raises:
        VideoError: there is no video in the container.
        UsageError: the index isn't that of a video stream.
    """
    best = best_stream(container)
    if best is None:
        raise VideoError(f"{name} has no video in it{_what_else(container)}: name a video file")
    if index is None:
        return best
    for stream in video_streams(container):
        if stream.index == index:
            return stream
    known = ", ".join(str(stream.index) for stream in video_streams(container))
    raise UsageError(f"--stream {index} isn't a video stream of {name}; its video streams: {known}")


def _what_else(container: av.container.InputContainer) -> str:
    if container.streams.video:
        return ", only a cover picture"
    return ", only sound" if container.streams.audio else ""


def video_streams(container: av.container.InputContainer) -> list[av.VideoStream]:
    """The streams that hold moving pictures: cover art and thumbnails are none."""
    return [one for one in container.streams.video if not one.disposition & _STILLS]


def best_stream(container: av.container.InputContainer) -> av.VideoStream | None:
    """The stream that FFmpeg finds best, or the first moving one if that is cover art."""
    moving = video_streams(container)
    best = container.streams.best("video")
    for stream in moving:
        if best is not None and stream.index == best.index:
            return stream
    return moving[0] if moving else None
