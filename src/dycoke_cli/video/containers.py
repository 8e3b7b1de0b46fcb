"""Opening of containers, selection of their video stream, and its frame rate."""

from __future__ import annotations

import re
from contextlib import suppress
from fractions import Fraction
from typing import Any, BinaryIO

import av
import av.logging
from av.stream import Disposition

from dycoke_cli.errors import UsageError, VideoError
from dycoke_cli.video.file_layout import why_unreadable, without_index
from dycoke_cli.video.files import CONTAINERS, RAW_STREAMS
from dycoke_cli.video.limits import check_entries, padded

ASSUMED_RATE = Fraction(25)
"""Frames per second where a file says nothing. Frames have times of their own."""


def rate_of(container: av.container.InputContainer, stream: av.VideoStream) -> Fraction | None:
    """Average frames per second that a stream declares; None if it declares none."""
    # FFmpeg declares 25 for each single picture.
    is_picture = container.format.name.endswith("_pipe")
    return None if is_picture else stream.average_rate or stream.guessed_rate


MAX_PICTURES = 100_000
_DURATION_TAG = re.compile(r"(\d\d+):(\d\d):(\d\d\.\d{1,9})", re.ASCII)
_TOO_LARGE = re.compile(r"Picture size (\d+)x(\d+) exceeds specified max pixel count")
_WEBP_HEAD, _ANIMATED = 21, 0b10  # bytes up to and including the flags, and the animation flag
_STILLS = Disposition.attached_pic | Disposition.timed_thumbnails
# Codecs of cover art.
_STILL_CODECS = ("mjpeg", "png", "bmp", "gif", "webp", "tiff")
_AVIF = ("avif", "avis")
_HEIC = ("heic", "heix", "mif1")
# FFmpeg's names of formats of images.
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
_FORMATS = ",".join((*CONTAINERS, *RAW_STREAMS, *_PICTURES, *_WITHOUT_VIDEO))


def open_container(file: BinaryIO, name: str, max_pixels: int) -> av.container.InputContainer:
    """Open a container, at its beginning.

    FFmpeg gets a file descriptor instead of a path, so that no file content can make it open
    another file or URL. It detects the format from the content.

    Args:
        file: a regular file, which must stay open while the container is read.
    """
    # Checked first, because it moves the file position, from which FFmpeg reads.
    if _is_animated_webp(file):
        raise VideoError(
            f"{name} is an animated WebP, which FFmpeg can't read: convert it to GIF or MP4 first"
        )
    file.seek(0)
    try:
        container = open_descriptor(file.fileno(), max_pixels)
    except MemoryError:
        raise
    except (av.FFmpegError, OSError, ValueError) as error:
        raise VideoError(why_unreadable(file, name)) from error
    try:
        # An edit list multiplies the entries: it may show each frame as often as it likes.
        check_entries(name, max((len(one.index_entries) for one in container.streams), default=0))
    except VideoError:
        container.close()
        raise
    if not container.streams and (cause := without_index(file, name)) is not None:
        container.close()
        raise VideoError(cause)
    return container


def open_descriptor(descriptor: int, max_pixels: int) -> av.container.InputContainer:
    """Open the container that a file descriptor reads; see `open_container`."""
    options = {
        "fd": str(descriptor),
        # No demuxer may open a URL or a path, whatever the file refers to.
        "protocol_whitelist": "fd",
        "format_whitelist": _FORMATS,
        "max_pixels": str(padded(max_pixels)),
    }
    return av.open("fd:", options=options, **_tag_options())


def refused_size(file: BinaryIO, max_pixels: int) -> tuple[int, int] | None:
    """Width and height of the frames that FFmpeg refuses as too large; None if it refuses none.

    It says so in its log alone: as an error, it is the same as damage.
    """
    file.seek(0)
    av.logging.set_level(av.logging.ERROR)
    av.logging.set_skip_repeated(False)
    try:
        with (
            av.logging.Capture(local=False) as log,
            suppress(av.FFmpegError, OSError, ValueError),
            open_descriptor(file.fileno(), max_pixels),
        ):
            pass
    finally:
        av.logging.set_level(None)
    found = _TOO_LARGE.search("".join(text for _, _, text in log))
    return None if found is None else (int(found[1]), int(found[2]))


def _tag_options() -> dict[str, Any]:
    """Arguments of `av.open` that accept a title that isn't UTF-8.

    PyAV 18 refuses one, unless this option is set. PyAV 19 keeps the bytes and has no such option.
    """
    has_option = hasattr(av.container.Container, "metadata_errors")
    return {"metadata_errors": "surrogateescape"} if has_option else {}


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
    container: av.container.InputContainer,
    index: int | None,
    name: str,
) -> av.VideoStream:
    """Choose the video stream to read: the one with this index, or `best_stream`."""
    best = best_stream(container)
    if container.format.name in RAW_STREAMS:
        raise VideoError(
            f"{name} is a raw stream, which has no time stamps: put it into a container with "
            "its frame rate first (of 25, `ffmpeg -r 25 -i raw.h264 clip.mp4`)"
        )
    if best is None:
        raise VideoError(f"{name} has no video in it{_what_else(container)}: name a video file")
    if container.metadata.get("major_brand") in _HEIC and len(_as_large(container, best)) > 1:
        raise VideoError(
            f"{name} is a photo that is stored in tiles, which FFmpeg doesn't join: convert it "
            "first (`heif-convert photo.heic photo.jpg`, or on a Mac "
            "`sips -s format jpeg photo.heic --out photo.jpg`)"
        )
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


def _films(container: av.container.InputContainer) -> list[av.VideoStream]:
    """Video streams of several frames, or else all.

    Some programs store cover art as an ordinary stream.
    """
    streams = video_streams(container)
    moving = [one for one in streams if one.frames != 1] or streams
    names = {one.index: one.codec_context and one.codec_context.name for one in moving}
    return [one for one in moving if names[one.index] not in _STILL_CODECS] or moving


def best_stream(container: av.container.InputContainer) -> av.VideoStream | None:
    """Video stream that is read by default; None if there is none.

    As in the `ffmpeg` command, of several that are marked as default, or of all, it is that with
    the largest picture, and of equally large ones the first. FFmpeg's library goes by the bit rate,
    which is chance where several cameras record the same scene.
    """

    def rank(one: av.VideoStream) -> tuple[bool, int]:
        return bool(one.disposition & Disposition.default), _pixels(one)

    return max(_films(container), key=rank, default=None)


def other_streams(
    container: av.container.InputContainer, read: av.VideoStream
) -> list[av.VideoStream]:
    """Video streams that a user could have meant instead of the one that is read."""
    if most_pictures(container) is not None:
        return []  # one image in several sizes
    if container.metadata.get("major_brand") in (*_AVIF, *_HEIC):
        return []  # its transparency, or its thumbnail
    return [one for one in _films(container) if one.index != read.index]


def _as_large(
    container: av.container.InputContainer, stream: av.VideoStream
) -> list[av.VideoStream]:
    return [one for one in video_streams(container) if _pixels(one) == _pixels(stream)]


def _pixels(stream: av.VideoStream) -> int:
    context = stream.codec_context
    return context.width * context.height if context else 0


def declared_end(stream: av.stream.Stream) -> Fraction | None:
    """Declared end of a stream by the file's clock, in seconds; None if there is none."""
    if stream.duration and stream.time_base:
        return ((stream.start_time or 0) + stream.duration) * stream.time_base
    # A tag of Matroska: 00:00:12.500000000
    match = _DURATION_TAG.fullmatch(stream.metadata.get("DURATION", ""))
    if match is None:
        return None
    hours, minutes, seconds = match.groups()
    return 3600 * int(hours) + 60 * int(minutes) + Fraction(seconds)
