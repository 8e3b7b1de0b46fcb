"""Opening of video files, and the structure of MP4 and Matroska files; imports no PyAV."""

from __future__ import annotations

import errno
import os
import re
import shlex
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import BinaryIO, NamedTuple

from dycoke_cli.errors import VideoError, closest
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
    try:
        # Checked before opening, because opening a device may have side effects.
        _check_kind(os.stat(path), shown, may_be_empty)
        file = open(path, "rb", buffering=0, opener=_open_at_once)  # noqa: SIM115 (the caller closes it)
    except (OSError, ValueError) as error:
        raise VideoError(_why_unreachable(path, shown, error)) from error
    try:
        # Again: it may have been replaced meanwhile.
        _check_kind(os.fstat(file.fileno()), shown, may_be_empty)
    except BaseException:
        file.close()
        raise
    return file


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
    if path.lower().startswith("file:/"):
        return "is an address, not a path: leave out the file:// in front"
    if not _ADDRESS.match(path):
        return None
    advice = "is an address, not a file: download it first"
    if "://" in path and not path.lower().startswith("http"):
        return advice  # as that of a bucket
    return f"{advice} (`yt-dlp -o clip.mp4 {shlex.quote(display_name(path))}`)"


def _open_at_once(path: str, flags: int) -> int:
    # Opening a pipe would block until it has a writer. (Windows has no pipes in the file system.)
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


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


# Structure of MP4 and Matroska files: boxes, elements, and whether time stamps may restart.
#
# An MP4 file with one index (`moov`) and a Matroska file with one segment have continuous time
# stamps. A fragmented MP4, a Matroska file without a declared size (a live recording) and joined
# files may begin again, and only reading all packets shows it. Imports no PyAV.


_BOX_HEAD, _LARGE_BOX = 8, 16
_ELEMENT_HEAD = 12
EBML, SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
ANY = b""
"""Kind in a path that any node has."""
_BEHIND_ALL = 2**63
_MOST = 10_000  # nodes of a level
_MOST_BYTES = 100_000  # of a node that is read
Place = tuple[int, int]
"""Begin and end of a part of a file."""
NOWHERE: Place = (0, 0)
_MOST_BOXES = 100_000


@dataclass(frozen=True)
class FileLayout:
    """Top-level structure of a file."""

    size: int  # of the file, in bytes
    # whether it is an MP4 with one index and no fragments, or a Matroska file with one segment of a
    # declared size
    is_single: bool = False
    # number of MP4 files joined behind the first. FFmpeg doesn't read their index.
    hidden_films: int = 0


def layout_of(file: BinaryIO) -> FileLayout:
    """Read the layout of an open file; moves the file position."""
    size = file.seek(0, 2)
    file.seek(0)
    head = file.read(_LARGE_BOX)
    if head[:4] == EBML:
        return FileLayout(size, is_single=_is_one_segment(file, size))
    if head[4:8] in (b"ftyp", b"moov", b"wide", b"free", b"mdat", b"styp", b"skip"):
        return _of_boxes(file, size)
    return FileLayout(size)


def _of_boxes(file: BinaryIO, size: int) -> FileLayout:
    """Layout of an MP4 file."""
    indexes = 0
    for kind, _, _ in islice(boxes(file, 0, size), _MOST_BOXES):
        if kind == b"moof":
            return FileLayout(size)
        indexes += kind == b"moov"
    return FileLayout(size, is_single=True, hidden_films=max(0, indexes - 1))


def _is_one_segment(file: BinaryIO, size: int) -> bool:
    """Whether a Matroska file is an EBML header and one segment that ends with the file."""
    place = 0
    for name in (EBML, SEGMENT):
        file.seek(place)
        head = file.read(_ELEMENT_HEAD)
        length = _element_size(head[4:])
        if head[:4] != name or length is None or length[1] is None:
            return False
        place += 4 + length[0] + length[1]
        if place >= size:  # also of a file that is cut off
            return name == SEGMENT
    # A few bytes of padding may follow the segment.
    file.seek(place)
    return file.read(4) not in (EBML, SEGMENT)


class Node(NamedTuple):
    """Box of an MP4 or element of a Matroska file."""

    kind: bytes  # type of the box, or identifier of the element
    begin: int  # of its content, as a place in the file
    end: int | None  # of its content; None if it isn't known


def boxes(file: BinaryIO, begin: int, end: int) -> Iterator[Node]:
    """Boxes of an MP4 between two places; the last one may end behind the second.

    A box is a size, which counts its head, and a type of 4 bytes. The end is None if the size is
    too small for the head; then no other box is found.
    """
    while begin < end:  # no file can be sought at 2**63 or more
        file.seek(begin)
        head = file.read(_LARGE_BOX)
        if len(head) < _BOX_HEAD:
            return
        length, least = int.from_bytes(head[:4], "big"), _BOX_HEAD
        if length == 1:  # the size is in the 8 bytes after the type
            length, least = int.from_bytes(head[8:16], "big"), _LARGE_BOX
        behind = end if length == 0 else begin + length
        if behind < begin + least:
            yield Node(head[4:8], begin + least, None)
            return
        yield Node(head[4:8], begin + least, behind)
        begin = behind


def elements(file: BinaryIO, begin: int, end: int) -> Iterator[Node]:
    """Elements of a Matroska file between two places; one without a size is the last."""
    while begin < end:
        file.seek(begin)
        head = file.read(_ELEMENT_HEAD)
        width = 9 - head[0].bit_length() if head else 0  # of the kind
        if not 0 < width <= len(EBML):
            return
        if (length := _element_size(head[width:])) is None:
            return
        content = begin + width + length[0]
        behind = end if length[1] is None else content + length[1]
        yield Node(head[:width], content, behind)
        begin = behind


def _element_size(head: bytes) -> tuple[int, int | None] | None:
    """Length in bytes of an EBML size, and its value (None: unknown); None if it is damaged."""
    width = 9 - head[0].bit_length() if head else 1
    if len(head) < width:  # also of a first byte of 0, which no size has
        return None
    value = int.from_bytes(head[:width], "big") - (1 << 7 * width)
    return width, None if value == (1 << 7 * width) - 1 else value


class Tree:
    """Nodes of a file, found by their path of kinds."""

    def __init__(
        self, file: BinaryIO, children: Callable[[BinaryIO, int, int], Iterator[Node]]
    ) -> None:
        self._file, self._children = file, children

    def all(self, place: Place, *path: bytes) -> Iterator[Place]:
        """Content of each node with a path below a place."""
        if not path:
            yield place
            return
        for kind, begin, end in self.nodes(place):
            if path[0] in (kind, ANY) and end is not None and end <= place[1]:
                yield from self.all((begin, end), *path[1:])

    def nodes(self, place: Place) -> Iterator[Node]:
        """Each node of a place."""
        return islice(self._children(self._file, *place), _MOST)

    def first(self, place: Place, *path: bytes) -> Place:
        """Content of the first node with a path below a place; `NOWHERE` if there is none."""
        return next(self.all(place, *path), NOWHERE)

    def read(self, place: Place) -> bytes:
        """Bytes of a place, without what exceeds `_MOST_BYTES`; none behind all files."""
        if place[0] >= _BEHIND_ALL:
            return b""
        self._file.seek(place[0])
        return self._file.read(min(place[1] - place[0], _MOST_BYTES))
