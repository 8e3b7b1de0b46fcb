"""Video files by their names: suffixes, opening and why that fails; and a video on stdin.

What is on stdin is copied to an unnamed temporary file: most containers need seeking, which a pipe
doesn't support. The space of such a file is freed however this process ends. Imports no PyAV.
"""

from __future__ import annotations

import io
import os
import re
import select
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from itertools import islice
from typing import BinaryIO

from dycoke_cli.errors import OutputError, UsageError, VideoError, closest
from dycoke_cli.storage import input_file
from dycoke_cli.unicode import display_name

CONTAINERS = {
    "mov": ".mp4 .m4v .mov .qt .mqv .3gp .3g2 .mj2 .f4v .ismv .insv .lrv .lrf .360",
    "matroska": ".mkv .mk3d .webm",
    "avi": ".avi .divx .xvid .amv",
    "mpegts": ".ts .m2t .m2ts .mts .tp .trp",
    "mpeg": ".mpg .mpeg .mpe .m2p .vob .vro .evo .mod .tod",
    "flv": ".flv",
    "ogg": ".ogv .ogm",
    "asf": ".asf .wm .wmv .dvr-ms",
    "asf_o": "",
    "mxf": ".mxf",
    "nut": ".nut",
    "ivf": ".ivf",
    "rm": ".rm .rmvb",
    "wtv": ".wtv",
    "gxf": ".gxf",
    "dhav": ".dav",
    "yuv4mpegpipe": ".y4m",
}
"""Formats that videos are read of, by FFmpeg's name, with the suffixes of their files.

Those that contain all their data. Playlists (concat, hls, dash, imf, …), streams (sdp, rtsp) and
multi-file recordings (mlv, vobsub, r3d) refer to other files or URLs. Devices and text art (lavfi,
tty, …) aren't video files.
"""
_MOVING_PICTURES = ".gif .apng"
_STILL_PICTURES = (
    ".avif .bmp .dpx .exr .hdr .heic .heif .hif .j2k .jfif .jp2 .jpe .jpeg .jpg .jxl .pbm "
    ".pgm .png .pnm .ppm .qoi .tif .tiff .webp"
)
SUFFIXES = frozenset(" ".join((*CONTAINERS.values(), _MOVING_PICTURES)).split())
"""Suffixes of videos, in lower case."""
PICTURES = frozenset(_STILL_PICTURES.split())
"""Suffixes of images, in lower case."""
STDIN = "-"
"""Path that stands for stdin."""
STDIN_NAME = "the video on stdin"
"""Name of stdin in a sentence."""


def is_video(path: str) -> bool:
    """Whether a file name has the suffix of a video."""
    return os.path.splitext(path)[1].lower() in SUFFIXES


def is_picture(path: str) -> bool:
    """Whether a file name has the suffix of an image."""
    return os.path.splitext(path)[1].lower() in PICTURES


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder or a link to one; a link to itself is neither, and no error."""
    return os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir()


# At least two letters, because C:/ is a drive. One slash, because pathlib turns http:// to http:/.
_ADDRESS = re.compile(
    r"[a-z][a-z0-9+.-]+:/|www\.|(m\.)?youtube\.com/|youtu\.be/|vimeo\.com/", re.IGNORECASE
)


_LONGEST_SHOWN = 1000  # characters of a name
_MOST_NAMES = 1000  # of a folder, which are compared with a missing one


def open_file(
    path: str | os.PathLike[str], name: str | None = None, *, may_be_empty: bool = False
) -> BinaryIO:
    """Open a regular file without blocking.

    Args:
        name: for errors, escaped for a terminal; None for the escaped path.
        may_be_empty: whether a file of 0 bytes is opened, too.
    """
    shown = name or display_name(path)
    check = partial(_check_kind, shown=shown, may_be_empty=may_be_empty)
    try:
        return input_file.open_file(path, check=check)
    except (OSError, ValueError) as error:
        raise VideoError(_why_unreachable(path, shown, error)) from error


def advice_on_address(path: str) -> str | None:
    """Predicate of an error message if a path is an address (`https://…`); None if it isn't.

    FFmpeg could read it, but nothing that a user names may open a connection.
    """
    if not _ADDRESS.match(path):
        return None
    if path.lower().startswith("file://"):
        return f"is an address: write {display_name(path[len('file://') :])}"
    return (
        "is an address, not a file: download it first (`yt-dlp -o clip.mp4 ADDRESS`), or record a "
        "part of a stream (`ffmpeg -t 60 -i ADDRESS -c copy clip.mkv`)"
    )


def _check_kind(status: os.stat_result, shown: str, may_be_empty: bool) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise VideoError(f"{shown} is a folder without pictures: name one video file")
    if stat.S_ISFIFO(status.st_mode):
        raise VideoError(f"{shown} is a pipe: give its content on stdin, with - as the video")
    if not stat.S_ISREG(status.st_mode):
        raise VideoError(f"{shown} is a device or a socket: name a video file")
    if status.st_size == 0 and not may_be_empty:
        raise VideoError(f"{shown} is empty (0 bytes): was its download or recording interrupted?")


def _why_unreachable(path: str | os.PathLike[str], shown: str, error: Exception) -> str:
    # An address and a broken link are "not found" to the system, but need another remedy.
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        if (advice := advice_on_address(os.fsdecode(path))) is not None:
            return f"{shown} {advice}"
        if os.path.islink(path):
            return f"{shown} is a link to a file that isn't there: name the file itself"
        return f"{shown} doesn't exist: {_where_else(os.fsdecode(path))}"
    why = getattr(error, "strerror", None) or "that is no name of a file"  # it has a NUL
    return f"{shown[:_LONGEST_SHOWN]} can't be read ({why}): check its name, owner and disk"


def _where_else(path: str) -> str:
    """What to do about a path at which there is no file."""
    if (of_windows := re.fullmatch(r"([a-z]):\\(.*)", path, re.IGNORECASE)) is not None:
        below = display_name(of_windows[2].replace("\\", "/"))
        return (
            f"WSL has the drives of Windows below /mnt: write /mnt/{of_windows[1].lower()}/{below}"
        )
    advice = "check the spelling and the folder"
    folder, name = os.path.split(path)
    names: list[str] = []
    with suppress(OSError, ValueError), os.scandir(folder or os.curdir) as entries:
        names += (entry.name for entry in islice(entries, _MOST_NAMES))
    if (near := closest(name, sorted(names))) is None:
        return "a question stands behind -q" if path.endswith("?") else advice
    return f"{advice}; did you mean {display_name(os.path.join(folder, near))}?"


MAX_SPOOLED_BYTES = 8 * 1024**3
_CHUNK_BYTES = 1024**2  # equivalent: pieces of any size
_SIGNAL_CHECK_S = 1.0


@contextmanager
def spooled(
    stdin: BinaryIO | None = None, limit_bytes: int = MAX_SPOOLED_BYTES
) -> Iterator[BinaryIO]:
    """Copy a stream to an unnamed temporary file, which is open within the block.

    Args and errors: see `spool`.
    """
    import tempfile  # late: few videos come on stdin

    try:
        file = tempfile.TemporaryFile(prefix="dycoke-")  # noqa: SIM115
    except OSError as error:
        raise _unwritable(error) from error
    with file:
        spool(file, stdin, limit_bytes)
        yield file


def spool(
    file: BinaryIO, stdin: BinaryIO | None = None, limit_bytes: int = MAX_SPOOLED_BYTES
) -> None:
    """Copy a stream to a file.

    Args:
        stdin: an open binary stream; None for stdin of this process.
    """
    stdin, copied = standard_input(stdin), 0
    while chunk := _read(stdin):
        copied += len(chunk)
        if copied > limit_bytes:
            raise VideoError(
                f"{STDIN_NAME} is larger than {limit_bytes / 1024**3:g} GiB: save it to a file and "
                "name that"
            )
        try:
            file.write(chunk)
            file.flush()  # a full disk is noticed here, and not when the file is closed
        except OSError as error:
            raise _unwritable(error) from error
    if copied == 0:
        raise VideoError(f"{STDIN_NAME} is empty: did the command before the pipe fail?")


def open_stdin(hint: str) -> BinaryIO:
    """Stdin of this process; where it is closed, an error ends with the hint."""
    if sys.stdin is None:
        raise UsageError(f"stdin is closed; {hint}")
    return sys.stdin.buffer


def standard_input(stdin: BinaryIO | None = None) -> BinaryIO:
    """Stdin of this process, or a stream in its place; refused if it is closed or a terminal."""
    stdin = stdin or open_stdin("name a video file, or pipe one in")
    if stdin.isatty():
        raise UsageError("- reads the video from stdin, and that is a terminal: dycoke … - < FILE")
    return stdin


def _unwritable(error: OSError) -> OutputError:
    return OutputError(
        f"{STDIN_NAME} can't be kept in a temporary file ({error.strerror}): "
        "make room, or set TMPDIR to another folder"
    )


def _read(stdin: BinaryIO) -> bytes:
    try:
        # A signal that arrives after Python's last check and before `read1` has begun doesn't
        # interrupt it: the command would end only when the pipe's other end writes or closes.
        with suppress(io.UnsupportedOperation):  # a stream without a file descriptor never blocks
            while not select.select([stdin], [], [], _SIGNAL_CHECK_S)[0]:
                pass
        return stdin.read1(_CHUNK_BYTES)  # type: ignore[attr-defined]
    except OSError as error:
        raise VideoError(f"{STDIN_NAME} can't be read ({error.strerror}): name a file") from error
