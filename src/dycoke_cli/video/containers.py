"""Opening of containers, and selection of their video stream."""

from __future__ import annotations

from typing import Any, BinaryIO

import av
from av.stream import Disposition

from dycoke_cli.errors import UsageError, VideoError
from dycoke_cli.video.unreadable import why_unreadable, without_index

MAX_PICTURES = 100_000
_WEBP_HEAD, _ANIMATED = 21, 0b10  # bytes up to and including the flags, and the animation flag
_STILLS = Disposition.attached_pic | Disposition.timed_thumbnails
# FFmpeg's names of the allowed formats: those that contain all their data. Playlists (concat, hls,
# dash, imf, …), streams (sdp, rtsp) and multi-file recordings (mlv, vobsub, r3d) refer to other
# files or URLs. Devices and text art (lavfi, tty, …) aren't video files.
_CONTAINERS = (
    "mov", "matroska", "avi", "mpegts", "mpeg", "flv", "ogg", "asf", "asf_o", "mxf", "nut", "ivf",
    "rm", "wtv", "dv", "gxf", "dhav", "yuv4mpegpipe",
)  # fmt: skip
_RAW_STREAMS = (
    "h264", "hevc", "vvc", "av1", "obu", "mpegvideo", "m4v", "h263", "h261", "vc1", "mjpeg",
    "dirac", "dnxhd",
)  # fmt: skip
_PICTURES = (
    "gif", "apng", "ico", "jpegxl_anim", "png_pipe", "jpeg_pipe", "webp_pipe", "bmp_pipe",
    "tiff_pipe", "j2k_pipe", "jpegxl_pipe", "pbm_pipe", "pgm_pipe", "ppm_pipe", "pam_pipe",
    "qoi_pipe", "dpx_pipe", "exr_pipe", "hdr_pipe",
)  # fmt: skip
# Allowed for a better error message: "there is no video in it" instead of "can't be read".
_WITHOUT_VIDEO = (
    "mp3", "wav", "aac", "ac3", "eac3", "flac", "aiff", "au", "amr", "caf", "ape", "wv", "tta",
    "webvtt", "srt", "ass",
)  # fmt: skip
_FORMATS = ",".join((*_CONTAINERS, *_RAW_STREAMS, *_PICTURES, *_WITHOUT_VIDEO))


def open_container(file: BinaryIO, name: str, max_pixels: int) -> av.container.InputContainer:
    """Open a container, at its beginning.

    FFmpeg gets a file descriptor instead of a path, so that no file content can make it open
    another file or URL. It detects the format from the content.

    Args:
        file: a regular file, which must stay open while the container is read.
        name: for error messages.
        max_pixels: per frame; larger ones aren't decoded while the streams are analysed.

    Raises:
        VideoError: it isn't a video, or FFmpeg has no decoder for it.
        MemoryError: its headers require too much memory.
    """
    # Checked first, because it moves the file position, from which FFmpeg reads.
    if _is_animated_webp(file):
        raise VideoError(
            f"{name} is an animated WebP, which FFmpeg can't read: convert it to GIF or MP4 first"
        )
    file.seek(0)
    # PyAV 18 refuses a file whose title isn't UTF-8, unless this option is set. PyAV 19 keeps the
    # bytes and has no such option.
    has_option = hasattr(av.container.Container, "metadata_errors")
    tags: dict[str, Any] = {"metadata_errors": "surrogateescape"} if has_option else {}
    try:
        container = av.open(
            "fd:",
            options={
                "fd": str(file.fileno()),
                # No demuxer may open a URL or a path, whatever the file refers to.
                "protocol_whitelist": "fd",
                "format_whitelist": _FORMATS,
                "max_pixels": str(max_pixels),
            },
            **tags,
        )
    except MemoryError:
        raise
    except (av.FFmpegError, OSError, ValueError) as error:
        raise VideoError(why_unreadable(file, name)) from error
    if not container.streams and (cause := without_index(file, name)) is not None:
        container.close()
        raise VideoError(cause)
    return container


def most_pictures(container: av.container.InputContainer) -> int | None:
    """Maximum number of frames of an image file; None for a video.

    Image files have no index, so reaching the last frame means decoding all of them.
    """
    return MAX_PICTURES if container.format.name in _PICTURES else None


def _is_animated_webp(file: BinaryIO) -> bool:
    file.seek(0)
    head = file.read(_WEBP_HEAD)
    is_extended = head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X" and len(head) == _WEBP_HEAD
    return is_extended and bool(head[-1] & _ANIMATED)


def choose_stream(
    container: av.container.InputContainer, index: int | None, name: str
) -> av.VideoStream:
    """Choose the video stream to read: the one with this index, or the best.

    Raises:
        VideoError: the container has no video stream.
        UsageError: no video stream has this index.
    """
    best = best_stream(container)
    if best is None:
        raise VideoError(f"{name} has no video in it{_what_else(container)}: name a video file")
    if index is None:
        return best
    for stream in video_streams(container):
        if stream.index == index:
            return stream
    valid = ", ".join(str(stream.index) for stream in video_streams(container))
    raise UsageError(f"--stream {index} isn't a video stream of {name}; its video streams: {valid}")


def _what_else(container: av.container.InputContainer) -> str:
    if container.streams.video:
        return ", only a cover picture"
    return ", only sound" if container.streams.audio else ""


def video_streams(container: av.container.InputContainer) -> list[av.VideoStream]:
    """Video streams, without cover art and thumbnails."""
    return [one for one in container.streams.video if not one.disposition & _STILLS]


def best_stream(container: av.container.InputContainer) -> av.VideoStream | None:
    """FFmpeg's choice of video stream; the first one if it chose cover art."""
    moving = video_streams(container)
    best = container.streams.best("video")
    for stream in moving:
        if best is not None and stream.index == best.index:
            return stream
    return moving[0] if moving else None
