"""Opening of video files; imports no PyAV."""

from __future__ import annotations

import errno
import os
import re
import shlex
import stat
from functools import partial
from itertools import islice
from typing import BinaryIO

from dycoke_cli.errors import VideoError, closest
from dycoke_cli.storage import input_file
from dycoke_cli.unicode import display_name
from dycoke_cli.video.file_names import is_folder, is_picture, is_video

# At least two letters, because C:/ is a drive. One slash, because pathlib turns http:// to http:/.
_ADDRESS = re.compile(
    r"[a-z][a-z0-9+.-]+:/|www\.|(m\.)?youtube\.com/|youtu\.be/|vimeo\.com/", re.IGNORECASE
)
_DIGITS = re.compile(r"\d+")
_SHORTEST = 3  # letters of a name that can be mistyped and still be known
_MOST_NAMES = 2_000  # of a folder, among which a mistyped one is looked for
_STREAM = re.compile(
    r"(rtsps?|rtmp\w*|rtp|srt|udp|mmsh?|rist):/|https?:/.*\.(m3u8|mpd)\b", re.IGNORECASE
)


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


def nearest(path: str) -> str | None:
    """Question after the video, picture or folder that a mistyped path must mean; None without."""
    folder, name = os.path.split(path)
    stem, suffix = os.path.splitext(name)
    if len(stem) < _SHORTEST:
        return None
    try:
        with os.scandir(folder or os.curdir) as entries:
            files = [
                entry.name
                for entry in islice(entries, _MOST_NAMES)
                if not entry.name.startswith(".")
                and (is_video(entry.name) or is_picture(entry.name) or is_folder(entry))
            ]
    except (OSError, ValueError):
        return None
    # Of one name, that with the same suffix comes last, and stays.
    by_stem = {
        os.path.splitext(one)[0]: one for one in sorted(files, key=lambda one: one.endswith(suffix))
    }
    # Another number is another clip, and no typing error.
    numbers = _DIGITS.findall(stem)
    near = closest(stem, sorted(one for one in by_stem if _DIGITS.findall(one) == numbers))
    return near and f"did you mean {display_name(os.path.join(folder, by_stem[near]))}?"


def advice_on_address(path: str) -> str | None:
    """Predicate of an error message if a path is an address (`https://…`); None if it isn't.

    FFmpeg could read it, but nothing that a user names may open a connection.
    """
    if _STREAM.match(path):
        return (
            "is a stream, not a file: record a part of it first "
            "(`ffmpeg -i ADDRESS -t 60 -c copy clip.mkv`)"
        )
    if os.sep == "/" and re.search(r"(^|/)[A-Za-z]:\\", path):
        return "is a path of Windows: give it relative to what names it, as in clips/a.mp4"
    if path.lower().startswith("file:/"):
        return "is an address, not a path: leave out the file:// in front"
    if not _ADDRESS.match(path):
        return None
    advice = "is an address, not a file: download it first"
    if "://" in path and not path.lower().startswith("http"):
        return advice  # as that of a bucket
    return f"{advice} (`yt-dlp -o clip.mp4 {shlex.quote(display_name(path))}`)"


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
    if isinstance(error, ValueError):  # a NUL in the name
        return f"{shown} can't be the name of a file: check the spelling"
    if isinstance(error, PermissionError):
        return f"{shown} may not be read: ask for permission, or copy it as its owner"
    if isinstance(error, OSError) and error.errno == errno.ELOOP:
        return f"{shown} is a link that leads back to itself: name the file that it should lead to"
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        return f"{shown[:60]}… is too long for the name of a file: check the spelling"
    # An address and a broken link are "not found" to the system, but need another remedy.
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        if (advice := advice_on_address(os.fsdecode(path))) is not None:
            return f"{shown} {advice}"
        if os.path.islink(path):
            return f"{shown} is a link to a file that isn't there: name the file itself"
        # Of a file that a server names otherwise, nothing else in the folder is told.
        near = nearest(os.fsdecode(path)) if shown == display_name(path) else None
        return f"{shown} doesn't exist: {near or 'check the spelling and the folder'}"
    return f"{shown} can't be read ({display_name(str(error))}): check the disk it lies on"
