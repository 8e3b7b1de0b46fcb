"""What headers say and PyAV doesn't: crop, and edit lists that hide a track.

MP4 and QuickTime: ISO/IEC 14496-12 (clean aperture, edit list). Matroska: RFC 9559 (PixelCrop).
Imports no PyAV.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from math import inf
from typing import BinaryIO

from dycoke_cli.video.open_file import ANY, EBML, SEGMENT, Place, Tree, boxes, elements

_MOST = 10_000
_EMPTY_EDIT = -1
# Of a visual sample entry: width and height, and the boxes behind its fields.
_SIZE, _FIELDS = slice(24, 28), 78
_APERTURE = struct.Struct(">IIIIiIiI")
_TRACKS, _TRACK, _VIDEO = b"\x16\x54\xae\x6b", b"\xae", b"\xe0"
_TRACK_TYPE, _IS_VIDEO = b"\x83", 1
_WIDTH, _HEIGHT = b"\xb0", b"\xba"
_CROPS = (b"\x54\xcc", b"\x54\xbb", b"\x54\xdd", b"\x54\xaa")  # left, top, right, bottom


@dataclass(frozen=True)
class Crop:
    """Columns and rows at the sides of a stored frame that aren't displayed."""

    left: int = 0
    top: int = 0
    right: int = 0
    bottom: int = 0

    def fits(self, width: int, height: int) -> bool:
        """Whether it leaves a part of a frame of this size, but not all of it."""
        sides = self.left, self.top, self.right, self.bottom
        inside = self.left + self.right < width and self.top + self.bottom < height
        return min(sides) >= 0 and inside and any(sides)

    def cropped(self, width: int, height: int) -> tuple[int, int]:
        """Width and height of what it leaves of a frame."""
        return width - self.left - self.right, height - self.top - self.bottom


@dataclass(frozen=True)
class TrackHeader:
    """Header of a track."""

    # number of an MP4 track; place among the video tracks of a Matroska file
    id: int
    crop: Crop | None = None  # of its frames; None for none
    is_hidden: bool = False  # whether its edit list shows none of it, or has a negative time


def track_headers(file: BinaryIO) -> tuple[TrackHeader, ...]:
    """Read the headers of the tracks of an open file; () if it is neither MP4 nor Matroska.

    Of a Matroska file, those of its video tracks. What is damaged is left out. The file position
    changes.
    """
    size = file.seek(0, 2)
    file.seek(0)
    found = _of_matroska if file.read(len(EBML)) == EBML else _of_mp4
    return tuple(islice(found(file, size), _MOST))


def _of_mp4(file: BinaryIO, size: int) -> Iterator[TrackHeader]:
    tree = Tree(file, boxes)
    movie = tree.first((0, size), b"moov")
    # In a fragmented file, an edit with a duration of 0 lasts until the end.
    is_fragmented = any(tree.first(movie, b"mvex"))
    for track in tree.all(movie, b"trak"):
        head = tree.read(tree.first(track, b"tkhd"))
        media = tree.read(tree.first(track, b"mdia", b"mdhd"))
        edits = tree.read(tree.first(track, b"edts", b"elst"))
        # Two times come first, of 4 bytes in version 0 and of 8 in version 1.
        number = head[20:24] if head[:1] == b"\1" else head[12:16]
        length = media[24:32] if media[:1] == b"\1" else media[16:20]
        is_hidden = not is_fragmented and _hides(edits, int.from_bytes(length, "big"))
        crop = _aperture(tree, tree.first(track, b"mdia", b"minf", b"stbl", b"stsd"))
        yield TrackHeader(int.from_bytes(number, "big"), crop, is_hidden)


def _hides(edits: bytes, media_duration: int) -> bool:
    """Whether an edit list shows nothing of a track, or has a negative time."""
    entry = struct.Struct(">Qqi" if edits[:1] == b"\1" else ">Iii")
    count = min(int.from_bytes(edits[4:8], "big"), len(edits[8:]) // entry.size)
    entries = [entry.unpack_from(edits, 8 + number * entry.size) for number in range(count)]
    if any(time < _EMPTY_EDIT for _, time, _ in entries):
        return True
    last = media_duration or inf
    shows = any(duration > 0 and 0 <= time < last for duration, time, _ in entries)
    return bool(entries) and not shows


def _aperture(tree: Tree, descriptions: Place) -> Crop | None:
    """Crop to the clean aperture of the first sample description of a track."""
    # A version and a count come first. The kind of a description is its codec.
    begin, end = tree.first((descriptions[0] + 8, descriptions[1]), ANY)
    size = tree.read((begin, end))[_SIZE]
    box = tree.read(tree.first((begin + _FIELDS, end), b"clap"))
    return _clean(box, *struct.unpack(">HH", size)) if len(size) == 4 else None


def _clean(aperture: bytes, width: int, height: int) -> Crop | None:
    """Crop of a frame of this size to a clean aperture; None if it is impossible."""
    if len(aperture) < _APERTURE.size:
        return None
    numbers = _APERTURE.unpack(aperture[: _APERTURE.size])
    if 0 in numbers[1::2]:
        return None
    shown_width, shown_height, x, y = map(Fraction, numbers[::2], numbers[1::2])
    # The offsets are from the centre of the frame to that of the aperture.
    left, top = x + (width - shown_width) / 2, y + (height - shown_height) / 2
    sides = left, top, width - left - shown_width, height - top - shown_height
    crop = Crop(*map(round, sides))
    return crop if crop.fits(width, height) else None


def _of_matroska(file: BinaryIO, size: int) -> Iterator[TrackHeader]:
    tree = Tree(file, elements)

    def number(track: Place, *path: bytes) -> int:
        return int.from_bytes(tree.read(tree.first(track, *path))[:8], "big")

    tracks = tree.all(tree.first((0, size), SEGMENT, _TRACKS), _TRACK)
    videos = (track for track in tracks if number(track, _TRACK_TYPE) == _IS_VIDEO)
    for place, track in enumerate(videos):
        crop = Crop(*(number(track, _VIDEO, side) for side in _CROPS))
        width, height = (number(track, _VIDEO, length) for length in (_WIDTH, _HEIGHT))
        yield TrackHeader(place, crop if crop.fits(width, height) else None)
