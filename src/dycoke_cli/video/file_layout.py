"""What the bytes of a file tell: the boxes of MP4 and Matroska, and why FFmpeg can't open it.

An MP4 file with one index (`moov`) and a Matroska file with one segment have continuous time
stamps. A fragmented MP4, a Matroska file without a declared size (a live recording) and joined
files may begin again, and only reading all packets shows it. Imports no PyAV.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import BinaryIO, NamedTuple

from dycoke_cli.storage.input_file import LFS_POINTER, starts_lfs_pointer
from dycoke_cli.video.files import is_picture

_BOX_HEAD, _LARGE_BOX = 8, 16
_ELEMENT_HEAD = 12
EBML, SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
_MOST_BOXES = 100_000


@dataclass(frozen=True)
class FileLayout:
    """Top-level structure of a file."""

    size: int  # of the file, in bytes
    # whether it is an MP4 with one index and no fragments, or a Matroska file with one segment of a
    # declared size
    is_single: bool = False
    is_cut: bool = False  # whether such a file ends before its last part does
    # number of MP4 files joined behind the first. FFmpeg doesn't read their index.
    hidden_films: int = 0


def layout_of(file: BinaryIO) -> FileLayout:
    """Read the layout of an open file; moves the file position."""
    size = file.seek(0, 2)
    file.seek(0)
    head = file.read(_LARGE_BOX)
    if head[:4] == EBML:
        end = _segment_end(file, size)
        return FileLayout(size, is_single=end is not None, is_cut=(end or 0) > size)
    if head[4:8] in (b"ftyp", b"moov", b"wide", b"free", b"mdat", b"styp", b"skip"):
        return _of_boxes(file, size)
    return FileLayout(size)


def _of_boxes(file: BinaryIO, size: int) -> FileLayout:
    """Layout of an MP4 file."""
    indexes, end = 0, None
    for box in islice(boxes(file, 0, size), _MOST_BOXES):
        if box.kind == b"moof":
            return FileLayout(size)
        indexes, end = indexes + (box.kind == b"moov"), box.end
    hidden, is_cut = max(0, indexes - 1), end is None or end > size
    return FileLayout(size, is_single=True, is_cut=is_cut, hidden_films=hidden)


def _segment_end(file: BinaryIO, size: int) -> int | None:
    """Where the segment of a Matroska file ends by its declared size.

    None if the file isn't an EBML header and one segment that ends with it.
    """
    place = 0
    for name in (EBML, SEGMENT):
        file.seek(place)
        head = file.read(_ELEMENT_HEAD)
        length = _element_size(head[4:])
        if head[:4] != name or length is None or length[1] is None:
            return None
        place += 4 + length[0] + length[1]
        if place >= size:  # also of a file that is cut off
            return place if name == SEGMENT else None
    # A few bytes of padding may follow the segment.
    file.seek(place)
    return None if file.read(4) in (EBML, SEGMENT) else place


class Box(NamedTuple):
    """Box of an MP4."""

    kind: bytes  # its type
    begin: int  # of its content, as a place in the file
    end: int | None  # of its content; None if it isn't known


def boxes(file: BinaryIO, begin: int, end: int) -> Iterator[Box]:
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
            yield Box(head[4:8], begin + least, None)
            return
        yield Box(head[4:8], begin + least, behind)
        begin = behind


def _element_size(head: bytes) -> tuple[int, int | None] | None:
    """Length in bytes of an EBML size, and its value (None: unknown); None if it is damaged."""
    width = 9 - head[0].bit_length() if head else 1
    if len(head) < width:  # also of a first byte of 0, which no size has
        return None
    value = int.from_bytes(head[:width], "big") - (1 << 7 * width)
    return width, None if value == (1 << 7 * width) - 1 else value


_SNIFFED_BYTES = 4096
_WEB_PAGE = re.compile(
    rb"\s*(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html)\b", re.IGNORECASE | re.DOTALL
)
# Types of the boxes that an MP4 or QuickTime file begins with (ISO/IEC 14496-12; QuickTime File
# Format Specification).
_FIRST_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"styp", b"uuid")
_INDEX = b"moov"


def why_unreadable(file: BinaryIO, name: str) -> str:
    """Sentence with the cause why a file isn't a video, or by its name a picture, to be opened."""
    wanted = "picture" if is_picture(name) else "video"
    file.seek(0)
    head = file.read(_SNIFFED_BYTES)
    if starts_lfs_pointer(head):
        return f"{name} {LFS_POINTER}"
    if _WEB_PAGE.match(head):
        return f"{name} is a web page, not a {wanted}: download the {wanted} that the page shows"
    if _is_text(head):
        return f"{name} is a text file, not a {wanted}: name a {wanted} file"
    return without_index(file, name) or (
        f"{name} isn't a {wanted} that can be read: it is another kind of file, "
        "or it is damaged at its start"
    )


def without_index(file: BinaryIO, name: str) -> str | None:
    """Sentence for an MP4 that ends before or within its index; None for any other file."""
    file.seek(4)
    if file.read(4) not in _FIRST_BOXES:
        return None
    size = file.seek(0, os.SEEK_END)
    first = islice(boxes(file, 0, size), _MOST_BOXES)
    ends = [end for kind, _, end in first if kind == _INDEX and end is not None]
    if ends and ends[0] <= size:
        return None
    return (
        f"{name} can't be read: its index (the moov box) {'is cut off' if ends else 'is missing'}, "
        "because its download or recording stopped early: download it again "
        "(`curl -C - -LO ADDRESS` resumes one)"
    )


def _is_text(head: bytes) -> bool:
    # The last character may be cut off, which decodes to U+FFFD.
    text = head.decode("utf-8", "replace").rstrip("\ufffd")
    return all(character.isprintable() or character.isspace() for character in text)
