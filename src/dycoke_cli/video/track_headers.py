"""What headers say and PyAV doesn't: crop, edit lists that hide a track, the grid of a picture.

MP4 and QuickTime: ISO/IEC 14496-12 (clean aperture, edit list). Matroska: RFC 9559 (PixelCrop).
HEIC and AVIF: ISO/IEC 23008-12 (grid). Imports no PyAV.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from math import inf
from typing import BinaryIO

from dycoke_cli.video.open_file import ANY, EBML, NOWHERE, SEGMENT, Place, Tree, boxes, elements

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
class TileGrid:
    """Tiles of a picture, which FFmpeg reads as streams: photos of phones are coded so."""

    size: tuple[int, int]  # width and height of the picture, which may end within its last tiles
    columns: int  # tiles of a row
    tiles: tuple[int, ...]  # numbers of their streams, row by row
    turns: int = 0  # quarter turns of the picture, counterclockwise
    # then exchange top and bottom (0) or left and right (1); None for neither
    mirror: int | None = None


@dataclass(frozen=True)
class TrackHeader:
    """Header of a track, or of the picture of a HEIC or AVIF file."""

    # number of an MP4 track or of a picture; place among the video tracks of a Matroska file
    id: int
    crop: Crop | None = None  # of its frames; None for none
    is_hidden: bool = False  # whether its edit list shows none of it, or has a negative time
    is_picture: bool = False  # whether it is the picture that a file is about, among its other ones
    # that the picture is coded as, of which `id` is the first tile; None if it is one
    grid: TileGrid | None = None


def track_headers(file: BinaryIO) -> tuple[TrackHeader, ...]:
    """Read the headers of the tracks of an open file; () if it is neither MP4 nor Matroska.

    Of a Matroska file, those of its video tracks; of a HEIC or AVIF file, that of its picture. What
    is damaged is left out. The file position changes.
    """
    size = file.seek(0, 2)
    file.seek(0)
    found = _of_matroska if file.read(len(EBML)) == EBML else _of_mp4
    return tuple(islice(found(file, size), _MOST))


def _of_mp4(file: BinaryIO, size: int) -> Iterator[TrackHeader]:
    tree = Tree(file, boxes)
    movie = tree.first((0, size), b"moov")
    if movie == NOWHERE and (meta := tree.first((0, size), b"meta")) != NOWHERE:
        yield _picture(tree, meta)
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


def _picture(tree: Tree, meta: Place) -> TrackHeader:
    """Header of the primary item of a HEIC or AVIF file."""
    inside = (meta[0] + 4, meta[1])  # behind a version
    about = tree.read(tree.first(inside, b"pitm"))
    item = _whole(about, 4, _wide(about, 1))
    properties = _properties(tree, tree.first(inside, b"iprp"), item)
    size = properties.get(b"ispe", b"")
    crop = _clean(properties.get(b"clap", b""), _whole(size, 4, 4), _whole(size, 8, 4))
    grid = _grid(tree, inside, item, properties)
    return TrackHeader(item if grid is None else grid.tiles[0], crop, is_picture=True, grid=grid)


def _grid(tree: Tree, meta: Place, item: int, properties: Mapping[bytes, bytes]) -> TileGrid | None:
    """Grid of an item; None if it isn't one."""
    tiles = _derived_from(tree, tree.first(meta, b"iref"), item)
    about = _data(tree, meta, item)
    if not tiles or len(about) < 8 or (about[2] + 1) * (about[3] + 1) != len(tiles):
        return None
    length = 4 if about[1] & 1 else 2
    mirror = properties.get(b"imir", b"")
    return TileGrid(
        (_whole(about, 4, length), _whole(about, 4 + length, length)),
        about[3] + 1,
        tiles,
        _whole(properties.get(b"irot", b""), 0, 1) & 3,
        mirror[0] & 1 if mirror else None,
    )


def _properties(tree: Tree, place: Place, item: int) -> dict[bytes, bytes]:
    """Properties of an item by their kind."""
    stored = [*tree.nodes(tree.first(place, b"ipco"))]
    table = tree.read(tree.first(place, b"ipma"))
    length, wide = _wide(table, 1), 2 if table[3:4] and table[3] & 1 else 1
    found, at = dict[bytes, bytes](), 8
    for _ in range(_whole(table, 4, 4)):
        if at >= len(table):
            break
        number, count = _whole(table, at, length), _whole(table, at + length, 1)
        at += length + 1
        for _ in range(count if number == item else 0):
            # The highest bit says whether the property is essential.
            index = _whole(table, at, wide) & (1 << 8 * wide - 1) - 1
            at += wide
            if 0 < index <= len(stored):
                kind, begin, end = stored[index - 1]
                found.setdefault(kind, tree.read((begin, end or begin)))
        at += wide * count if number != item else 0
    return found


def _derived_from(tree: Tree, references: Place, item: int) -> tuple[int, ...]:
    """Items that an item is made of."""
    length = _wide(tree.read(references), 1)
    for place in tree.all((references[0] + 4, references[1]), b"dimg"):
        content = tree.read(place)
        if _whole(content, 0, length) == item:
            count = min(_whole(content, length, 2), (len(content) - length - 2) // length)
            return tuple(_whole(content, length + 2 + n * length, length) for n in range(count))
    return ()


def _data(tree: Tree, meta: Place, item: int) -> bytes:
    """Content of an item of one extent, as stored in the file or among the headers."""
    table = tree.read(tree.first(meta, b"iloc"))
    version, sizes = _whole(table, 0, 1), _whole(table, 4, 2)
    offset, length, base, index = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    index = index if version else 0
    of_item = _wide(table, 2)
    at = 6 + of_item
    for _ in range(_whole(table, 6, of_item)):
        if at >= len(table):
            break
        number, at = _whole(table, at, of_item), at + of_item
        method, at = (_whole(table, at, 2) & 15, at + 2) if version else (0, at)
        begin, at = _whole(table, at + 2, base), at + 2 + base
        count, at = _whole(table, at, 2), at + 2
        if number == item and method < 2:
            begin += _whole(table, at + index, offset)
            begin += tree.first(meta, b"idat")[0] if method else 0
            return tree.read((begin, begin + _whole(table, at + index + offset, length)))
        at += count * (index + offset + length)
    return b""


def _wide(table: bytes, since: int) -> int:
    """Bytes of an item's number: 4 since a version of the table, 2 before."""
    return 4 if _whole(table, 0, 1) >= since else 2


def _whole(content: bytes, begin: int, length: int) -> int:
    """Unsigned number; what is cut off counts as 0."""
    return int.from_bytes(content[begin : begin + length], "big")


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
