"""Top-level structure of MP4 and Matroska files: whether time stamps may restart in mid-file.

An MP4 file with one index (`moov`) and a Matroska file with one segment have continuous time
stamps. A fragmented MP4, a Matroska file without a declared size (a live recording) and joined
files may begin again, and only reading all packets shows it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import BinaryIO

from dycoke_cli.video.file_tree import EBML, ELEMENT_HEAD, SEGMENT, boxes, element_size

_HEAD_BYTES = 16
_MOST_BOXES = 100_000


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
    head = file.read(_HEAD_BYTES)
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
        head = file.read(ELEMENT_HEAD)
        length = element_size(head[4:])
        if head[:4] != name or length is None or length[1] is None:
            return False
        place += 4 + length[0] + length[1]
        if place >= size:  # also of a file that is cut off
            return name == SEGMENT
    # A few bytes of padding may follow the segment.
    file.seek(place)
    return file.read(4) not in (EBML, SEGMENT)
