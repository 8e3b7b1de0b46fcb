"""Top-level structure of MP4 and Matroska files: whether time stamps may restart in mid-file.

An MP4 file with one index (`moov`) and a Matroska file with one segment have continuous time
stamps. A fragmented MP4, a Matroska file without a declared size (a live recording) and joined
files may begin again, and only reading all packets shows it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO

_BOX_HEAD, _LARGE_BOX = 8, 16
_MOST_BOXES = 100_000
_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"


@dataclass(frozen=True)
class FileLayout:
    """Top-level structure of a file.

    Attributes:
        size: of the file, in bytes.
        is_single: whether it is an MP4 with one index and no fragments, or a Matroska file with one
            segment of a declared size.
        hidden_films: number of MP4 files joined behind the first. FFmpeg doesn't read their index.
    """

    size: int
    is_single: bool = False
    hidden_films: int = 0


def layout_of(file: BinaryIO) -> FileLayout:
    """Read the layout of an open file; moves the file position."""
    size = file.seek(0, 2)
    file.seek(0)
    head = file.read(_LARGE_BOX)
    if head[:4] == _EBML:
        return FileLayout(size, is_single=_is_one_segment(file, size))
    if head[4:8] in (b"ftyp", b"moov", b"wide", b"free", b"mdat", b"styp", b"skip"):
        return _boxes(file, size)
    return FileLayout(size)


def _boxes(file: BinaryIO, size: int) -> FileLayout:
    """Layout of an MP4 file, from the heads of its boxes: a size, and a name of 4 bytes."""
    place, indexes = 0, 0
    for _ in range(_MOST_BOXES):
        file.seek(place)
        head = file.read(_LARGE_BOX)
        if len(head) < _BOX_HEAD:
            break
        length, name = int.from_bytes(head[:4], "big"), head[4:8]
        if name == b"moof":
            return FileLayout(size)
        indexes += name == b"moov"
        if length == 1:  # the size is in the 8 bytes after the name
            length = int.from_bytes(head[8:16], "big")
        place = size if length < _BOX_HEAD else place + length
        if place >= size:
            break
    return FileLayout(size, is_single=True, hidden_films=max(0, indexes - 1))


def _is_one_segment(file: BinaryIO, size: int) -> bool:
    """Whether a Matroska file is an EBML header and one segment that ends with the file."""
    place = 0
    for name in (_EBML, _SEGMENT):
        file.seek(place)
        head = file.read(12)
        length = _element_size(head[4:])
        if head[:4] != name or length is None:
            return False
        place += 4 + length[0] + length[1]
        if place >= size:  # also of a file that is cut off
            return name == _SEGMENT
    # A few bytes of padding may follow the segment.
    file.seek(place)
    return file.read(4) not in (_EBML, _SEGMENT)


def _element_size(head: bytes) -> tuple[int, int] | None:
    """Length in bytes of an EBML size, and its value; None if it is unknown, damaged or cut off."""
    width = 9 - head[0].bit_length() if head else 1
    if len(head) < width:  # also of a first byte of 0, which no size has
        return None
    value = int.from_bytes(head[:width], "big") - (1 << 7 * width)
    return None if value == (1 << 7 * width) - 1 else (width, value)
