"""From a path to an open container: its name as shown, the checks of the file, its video streams.

Each way in which a file can't be read has its own sentence.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from typing import Any, BinaryIO

import av
from av.stream import Disposition

from dycoke_cli.errors import UsageError, VideoError
from dycoke_cli.unicode import display_name

# Two letters at least: C:/ is a drive. One slash is enough: pathlib folds http:// into http:/.
_ADDRESS = re.compile(
    r"[a-z][a-z0-9+.-]+:/|www\.|(m\.)?youtube\.com/|youtu\.be/|vimeo\.com/", re.IGNORECASE
)
_SNIFFED_BYTES = 4096
_STILLS = Disposition.attached_pic | Disposition.timed_thumbnails
# FFmpeg's names of the formats that may be opened: each holds its own data. Playlists (concat, hls,
# dash, imf, …), streams (sdp, rtsp) and recordings in several parts (mlv, vobsub, r3d) name other
# files and addresses; devices and text art (lavfi, tty, …) are no files of video.
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
# Opened for a better sentence: that there is no video in them.
_WITHOUT_VIDEO = (
    "mp3", "wav", "aac", "ac3", "eac3", "flac", "aiff", "au", "amr", "caf", "ape", "wv", "tta",
    "webvtt", "srt", "ass",
)  # fmt: skip
_FORMATS = ",".join((*_CONTAINERS, *_RAW_STREAMS, *_PICTURES, *_WITHOUT_VIDEO))


def open_file(path: str | os.PathLike[str], name: str | None = None) -> BinaryIO:
    """Open a regular file with bytes in it; nothing else is opened, and nothing is waited for.

    Args:
        path: where it lies.
        name: what to call it in the error, already fit for a terminal; the escaped path if None.

    Returns:
        The file, without a buffer, for the caller to close.

    Raises:
        VideoError: one sentence that says what is wrong with it and what to do.
    """
    shown = name or display_name(path)
    try:
        # Asked before it is opened, for a device may do something when it is.
        _check_kind(os.stat(path), shown)
        file = open(path, "rb", buffering=0, opener=_open_at_once)  # noqa: SIM115 (the caller closes it)
    except (OSError, ValueError) as error:
        raise VideoError(_why_unreachable(path, shown, error)) from error
    try:
        _check_kind(os.fstat(file.fileno()), shown)  # another may have taken its place
    except BaseException:
        file.close()
        raise
    return file


def check_file(path: str | os.PathLike[str]) -> None:
    """Make sure that `open_file` can open a file. Errors are its own."""
    open_file(path).close()


def _open_at_once(path: str, flags: int) -> int:
    # To open a pipe would wait for its writer. (Windows has none among its files.)
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _check_kind(status: os.stat_result, shown: str) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise VideoError(f"{shown} is a folder: name a video file in it")
    if stat.S_ISFIFO(status.st_mode):
        raise VideoError(f"{shown} is a pipe: give its content on stdin, with - as the video")
    if not stat.S_ISREG(status.st_mode):
        raise VideoError(f"{shown} is a device or a socket: name a video file")
    if status.st_size == 0:
        raise VideoError(f"{shown} is empty (0 bytes): was its download or recording interrupted?")


def _why_unreachable(path: str | os.PathLike[str], shown: str, error: Exception) -> str:
    if isinstance(error, ValueError):  # a NUL in the name
        return f"{shown} can't be the name of a file: check the spelling"
    if isinstance(error, PermissionError):
        return f"{shown} may not be read: ask for permission, or copy it as its owner"
    if isinstance(error, OSError) and error.errno == errno.ELOOP:
        return f"{shown} is a link that leads back to itself: name the file that it should lead to"
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        return f"{shown[:60]}… is too long for the name of a file: check the spelling"
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        if _ADDRESS.match(os.fsdecode(path)):
            return f"{shown} is an address, not a file: download it first"
        if os.path.islink(path):
            return f"{shown} is a link to a file that isn't there: name the file itself"
        return f"{shown} doesn't exist: check the spelling and the folder"
    return f"{shown} can't be read ({display_name(str(error))}): check the disk it lies on"


def open_container(file: BinaryIO, name: str, max_pixels: int) -> av.container.InputContainer:
    """Open a file for reading, from its beginning.

    FFmpeg gets the open file and no path: whatever the file's name or content says, no other file
    or address can be opened. The format is told from the content alone.

    Args:
        file: a regular file, open for as long as the container is read.
        name: what to call it in errors.
        max_pixels: of a picture; larger ones aren't decoded while the streams are looked at.

    Raises:
        VideoError: it isn't a video.
    """
    file.seek(0)
    # Titles in any encoding: PyAV 19 keeps their bytes, 18 has to be told to, or refuses the file.
    told = hasattr(av.container.Container, "metadata_errors")
    tags: dict[str, Any] = {"metadata_errors": "surrogateescape"} if told else {}
    try:
        container = av.open(
            "fd:",
            options={
                "fd": str(file.fileno()),
                "protocol_whitelist": "fd",
                "format_whitelist": _FORMATS,
                "max_pixels": str(max_pixels),
            },
            **tags,
        )
    except (av.FFmpegError, OSError, ValueError) as error:
        if _is_text(file):
            raise VideoError(f"{name} is a text file, not a video: name a video file") from error
        raise VideoError(
            f"{name} isn't a video that can be read: it is another kind of file, "
            "or it is damaged at its start"
        ) from error
    return container


def _is_text(file: BinaryIO) -> bool:
    file.seek(0)
    # A character may be cut at the end.
    text = file.read(_SNIFFED_BYTES).decode("utf-8", "replace").rstrip("\ufffd")
    return all(character.isprintable() or character.isspace() for character in text)


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
