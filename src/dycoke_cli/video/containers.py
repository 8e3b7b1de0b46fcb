"""Opening of containers, selection of their video stream, and its frame rate."""

from __future__ import annotations

import os
from typing import Any, BinaryIO

import av
from av.stream import Disposition

from dycoke_cli.errors import UsageError, VideoError
from dycoke_cli.storage.input_file import LFS_POINTER, starts_lfs_pointer
from dycoke_cli.video.files import CONTAINERS, is_picture
from dycoke_cli.video.limits import check_entries, padded

_STILLS = Disposition.attached_pic | Disposition.timed_thumbnails
# Codecs of cover art.
_STILL_CODECS = ("mjpeg", "png", "bmp", "gif", "webp", "tiff")
_HEIC = ("heic", "heix", "mif1")
# FFmpeg's names of formats of images.
PICTURES = (
    "gif", "apng", "ico", "jpegxl_anim", "png_pipe", "jpeg_pipe", "webp_pipe", "bmp_pipe",
    "tiff_pipe", "j2k_pipe", "jpegxl_pipe", "pbm_pipe", "pgm_pipe", "ppm_pipe", "pam_pipe",
    "qoi_pipe", "dpx_pipe", "exr_pipe", "hdr_pipe",
)  # fmt: skip
_FORMATS = ",".join((*CONTAINERS, *PICTURES))


def open_container(file: BinaryIO, name: str, max_pixels: int) -> av.container.InputContainer:
    """Open a container, at its beginning.

    FFmpeg gets a file descriptor instead of a path, so that no file content can make it open
    another file or URL. It detects the format from the content.

    Args:
        file: a regular file, which must stay open while the container is read.
    """
    file.seek(0)
    try:
        container = open_descriptor(file.fileno(), max_pixels)
    except MemoryError:
        raise
    except (av.FFmpegError, OSError, ValueError) as error:
        raise VideoError(_why_unreadable(file, name)) from error
    try:
        # An edit list multiplies the entries: it may show each frame as often as it likes.
        check_entries(name, max((len(one.index_entries) for one in container.streams), default=0))
    except VideoError:
        container.close()
        raise
    if not container.streams and (cause := _without_index(file, name)) is not None:
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
    more: dict[str, Any] = {}
    # PyAV 18 refuses a title that isn't UTF-8 unless this is set. PyAV 19 keeps its bytes.
    if hasattr(av.container.Container, "metadata_errors"):
        more["metadata_errors"] = "surrogateescape"
    return av.open("fd:", options=options, **more)


def choose_stream(
    container: av.container.InputContainer,
    index: int | None,
    name: str,
) -> av.VideoStream:
    """Choose the video stream to read: the one with this index, or `best_stream`."""
    best = best_stream(container)
    if best is None:
        only = ", only sound" if container.streams.audio else ""
        only = ", only a cover picture" if container.streams.video else only
        raise VideoError(f"{name} has no video in it{only}: name a video file")
    streams = video_streams(container)
    as_large = [one for one in streams if _pixels(one) == _pixels(best)]
    if container.metadata.get("major_brand") in _HEIC and len(as_large) > 1:
        raise VideoError(
            f"{name} is a photo that is stored in tiles, which FFmpeg doesn't join: convert it "
            "first (`heif-convert photo.heic photo.jpg`, or on a Mac "
            "`sips -s format jpeg photo.heic --out photo.jpg`)"
        )
    chosen = {one.index: one for one in streams} | {None: best}
    if index not in chosen:
        valid = ", ".join(str(one.index) for one in streams)
        raise UsageError(
            f"--stream {index} isn't a video stream of {name}; its video streams: {valid}"
        )
    return chosen[index]


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


def _pixels(stream: av.VideoStream) -> int:
    context = stream.codec_context
    return context.width * context.height if context else 0


# Why FFmpeg can't open a file, from its first bytes and the boxes of an MP4.

_SNIFFED_BYTES = 4096
_BOX_HEAD, _LARGE_BOX, _MOST_BOXES = 8, 16, 100_000
# Types of the boxes that an MP4 or QuickTime file begins with (ISO/IEC 14496-12; QuickTime File
# Format Specification).
_FIRST_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"styp", b"uuid")


def _why_unreadable(file: BinaryIO, name: str) -> str:
    """Sentence with the cause why a file isn't a video, or by its name a picture, to be opened."""
    wanted = "picture" if is_picture(name) else "video"
    file.seek(0)
    head = file.read(_SNIFFED_BYTES)
    if starts_lfs_pointer(head):
        return f"{name} {LFS_POINTER}"
    # The last character may be cut off, which decodes to U+FFFD.
    text = head.decode("utf-8", "replace").rstrip("\ufffd")
    if all(character.isprintable() or character.isspace() for character in text):
        return f"{name} is a text file, not a {wanted}: name a {wanted} file"
    if name.lower().endswith((".mp3", ".wav", ".flac", ".aac", ".aif", ".aiff")):
        return f"{name} has no video in it, only sound: name a video file"
    return _without_index(file, name) or (
        f"{name} isn't a {wanted} that can be read: it is another kind of file (unpack archives), "
        "a stream without times (`ffmpeg -r 25 -i raw.h264 clip.mp4`), or damaged at its start"
    )


def _without_index(file: BinaryIO, name: str) -> str | None:
    """Sentence for an MP4 that ends before or within its index; None for any other file."""
    file.seek(4)
    if file.read(4) not in _FIRST_BOXES:
        return None
    size, begin, state = file.seek(0, os.SEEK_END), 0, "is missing"
    for _ in range(_MOST_BOXES):
        if begin >= size:  # no file can be sought at 2**63 or more
            break
        file.seek(begin)
        head = file.read(_LARGE_BOX)
        # A box is a size, which counts its head, and a type. A size of 1 is in the 8 bytes behind
        # them, and one of 0 stands for the rest of the file.
        length = int.from_bytes(head[:4], "big")
        length = int.from_bytes(head[8:16], "big") if length == 1 else length or size - begin
        if length < _BOX_HEAD:
            break
        if head[4:8] == b"moov":
            if begin + length <= size:
                return None
            state = "is cut off"
        begin += length
    return (
        f"{name} can't be read: its index (the moov box) {state}, "
        "because its download or recording stopped early: download it again "
        "(`curl -C - -LO ADDRESS` resumes one)"
    )
