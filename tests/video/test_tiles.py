"""Photos of phones: a HEIC whose picture is a grid of tiles (ISO/IEC 23008-12)."""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import pytest

from dycoke_cli.errors import VideoError
from dycoke_cli.video import Decoder, Sampling, read
from dycoke_cli.video.planning import probe
from dycoke_cli.video.track_headers import Crop, TileGrid, track_headers
from tests.video.test_crop import aperture_of

TILE, WIDTH, HEIGHT = 64, 150, 100  # three columns and two rows, of which the last are cut
ROWS, COLUMNS = np.mgrid[:HEIGHT, :WIDTH]
PHOTO = np.stack([COLUMNS * 255 // WIDTH, ROWS * 255 // HEIGHT, 128 + 0 * ROWS], -1).astype(
    np.uint8
)
PARTS = [(row, column) for row in range(0, HEIGHT, TILE) for column in range(0, WIDTH, TILE)]


def box(kind: bytes, *content: bytes) -> bytes:
    body = b"".join(content)
    return struct.pack(">I4s", len(body) + 8, kind) + body


def full_box(kind: bytes, version: int, *content: bytes) -> bytes:
    return box(kind, bytes((version, 0, 0, 0)), *content)


@dataclass(frozen=True)
class Coded:
    """A picture as an item: its configuration and its data."""

    configuration: bytes
    data: bytes
    size: tuple[int, int]

    @classmethod
    def of(cls, picture: np.ndarray) -> Coded:
        made = io.BytesIO()
        with av.open(made, "w", format="mp4") as container:
            stream = container.add_stream("libx265", rate=1)
            stream.height, stream.width = picture.shape[:2]
            stream.pix_fmt = "yuv444p"
            stream.options = {"x265-params": "log-level=none:qp=4:keyint=1"}
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        made.seek(0)
        with av.open(made) as container:
            stream = container.streams.video[0]
            data = next(bytes(packet) for packet in container.demux(stream))
            return cls(bytes(stream.codec_context.extradata or b""), data, picture.shape[1::-1])


def written(
    path: Path, *properties: bytes, damaged: tuple[int, ...] = (), ids: tuple[int, int] = (1, 100)
) -> Path:
    """Write the photo as a grid of tiles, with a thumbnail and other properties of the grid.

    Args:
        properties: boxes such as that of a rotation.
    """
    padded = np.pad(PHOTO, ((0, TILE), (0, TILE), (0, 0)), mode="edge")
    tiles = [Coded.of(padded[y : y + TILE, x : x + TILE]) for y, x in PARTS]
    thumbnail = Coded.of(PHOTO[::4, ::4][:24, :36])
    first, grid = ids
    of_tiles = [first + number for number in range(len(tiles))]
    items = [*zip(of_tiles, tiles, strict=True), (grid + 1, thumbnail)]
    stored = [
        box(b"hvcC", tiles[0].configuration),
        full_box(b"ispe", 0, struct.pack(">II", TILE, TILE)),
        full_box(b"ispe", 0, struct.pack(">II", WIDTH, HEIGHT)),
        box(b"hvcC", thumbnail.configuration),
        full_box(b"ispe", 0, struct.pack(">II", *thumbnail.size)),
        *properties,
    ]
    of_grid = [3, *range(6, 6 + len(properties))]
    uses = [*((number, [1, 2]) for number in of_tiles), (grid, of_grid), (grid + 1, [4, 5])]
    table = b"".join(struct.pack(">HB", item, len(used)) + bytes(used) for item, used in uses)
    kinds = [*((number, b"hvc1") for number, _ in items), (grid, b"grid")]
    entries = [
        full_box(b"infe", 2, struct.pack(">HH", number, 0), kind, b"\0") for number, kind in kinds
    ]
    references = [
        box(b"dimg", struct.pack(f">HH{len(tiles)}H", grid, len(tiles), *of_tiles)),
        box(b"thmb", struct.pack(">HHH", grid + 1, 1, grid)),
    ]
    about = struct.pack(">BBBBHH", 0, 0, 1, 2, WIDTH, HEIGHT)

    def headers(begin: int) -> bytes:
        places = [struct.pack(">HHHHII", grid, 1, 0, 1, 0, len(about))]
        for number, coded in items:
            places.append(struct.pack(">HHHHII", number, 0, 0, 1, begin, len(coded.data)))
            begin += len(coded.data)
        return full_box(
            b"meta",
            0,
            full_box(b"hdlr", 0, bytes(4), b"pict", bytes(13)),
            full_box(b"pitm", 0, struct.pack(">H", grid)),
            full_box(b"iloc", 1, b"\x44\0", struct.pack(">H", len(places)), *places),
            full_box(b"iinf", 0, struct.pack(">H", len(entries)), *entries),
            full_box(b"iref", 0, *references),
            box(
                b"iprp",
                box(b"ipco", *stored),
                full_box(b"ipma", 0, struct.pack(">I", len(uses)), table),
            ),
            box(b"idat", about),
        )

    kind = box(b"ftyp", b"heic", bytes(4), b"mif1heic")
    content = [bytes(len(c.data)) if n in damaged else c.data for n, (_, c) in enumerate(items)]
    begin = len(kind) + len(headers(0)) + 8
    path.write_bytes(kind + headers(begin) + box(b"mdat", *content))
    return path


def test_the_tiles_are_one_picture(tmp_path: Path) -> None:
    path = written(tmp_path / "photo.heic")
    with path.open("rb") as file:
        [header] = track_headers(file)
    assert header.grid == TileGrid((WIDTH, HEIGHT), 3, tuple(range(1, 7)))
    clip = read(path)
    assert clip.frames.shape == (1, HEIGHT, WIDTH, 3)
    np.testing.assert_allclose(clip.frames[0].astype(int), PHOTO, atol=6)
    assert clip.warnings == ()
    info = probe(path)
    assert (info.width, info.height, len(info.video_streams)) == (WIDTH, HEIGHT, 1)
    with Decoder() as decoder:
        np.testing.assert_array_equal(decoder.read(str(path), Sampling()).frames, clip.frames)


@pytest.mark.parametrize(
    ("properties", "shown"),
    [
        ((box(b"irot", b"\1"),), np.rot90(PHOTO)),
        ((box(b"irot", b"\2"),), np.rot90(PHOTO, 2)),
        ((box(b"irot", b"\3"),), np.rot90(PHOTO, 3)),
        ((box(b"imir", b"\0"),), PHOTO[::-1]),
        ((box(b"imir", b"\1"),), PHOTO[:, ::-1]),
        ((box(b"irot", b"\1"), box(b"imir", b"\0")), np.rot90(PHOTO)[::-1]),
        ((box(b"irot", b"\3"), box(b"imir", b"\1")), np.rot90(PHOTO, 3)[:, ::-1]),
        (
            (aperture_of(Crop(5, 2, 3, 7), WIDTH, HEIGHT), box(b"irot", b"\1")),
            np.rot90(PHOTO[2:-7, 5:-3]),
        ),
    ],
)
def test_it_is_cropped_turned_and_mirrored(
    tmp_path: Path, properties: tuple[bytes, ...], shown: np.ndarray
) -> None:
    frame = read(written(tmp_path / "photo.heic", *properties)).frames[0]
    assert frame.shape == shown.shape
    np.testing.assert_allclose(frame.astype(int), shown, atol=6)


def test_a_damaged_tile_is_said(tmp_path: Path) -> None:
    clip = read(written(tmp_path / "photo.heic", damaged=(4,)))
    np.testing.assert_allclose(clip.frames[0, :64].astype(int), PHOTO[:64], atol=6)
    assert len(set(clip.frames[0, 70:95, 70:120, 0].flat)) == 1
    [warning] = clip.warnings
    assert warning.endswith("is damaged: 1 damaged packet was skipped")
    with pytest.raises(VideoError, match="not one picture in it can be decoded"):
        read(written(tmp_path / "none.heic", damaged=tuple(range(6))))


def test_a_folder_of_photos_is_a_video(tmp_path: Path) -> None:
    for name in ("1.HEIC", "2.heic"):
        written(tmp_path / name)
    clip = read(tmp_path)
    assert clip.frames.shape == (2, HEIGHT, WIDTH, 3)
    assert clip.warnings == ()


def test_headers_that_are_cut_off_end_in_no_exception(tmp_path: Path) -> None:
    content = written(tmp_path / "photo.heic", box(b"irot", b"\1")).read_bytes()
    end = content.index(b"mdat")
    for at in range(40, end, 7):
        damaged = content[:at] + b"\xff\xff\xff" + content[at + 3 :]
        track_headers(io.BytesIO(damaged))
        track_headers(io.BytesIO(content[:at]))
