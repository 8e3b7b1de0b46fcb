"""The sides of a frame that players don't show: clean aperture of MP4, PixelCrop of Matroska."""

from __future__ import annotations

import io
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from dycoke_cli.video import Sampling
from dycoke_cli.video.track_headers import Crop, TrackHeader, track_headers
from tests.video.clips import write_pictures
from tests.video.inside import probe, read

WIDTH, HEIGHT = 32, 20
STORED = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
CROPS = [Crop(5, 2, 3, 7), Crop(0, 0, 0, 1), Crop(left=31), Crop(8, 5, 8, 5)]
_IN_MP4 = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd")


def shown(crop: Crop) -> np.ndarray:
    return STORED[crop.top : HEIGHT - crop.bottom, crop.left : WIDTH - crop.right]


def aperture_of(crop: Crop, width: int, height: int) -> bytes:
    """Clean aperture: its size, and how far its centre is from the frame's (ISO 14496-12)."""
    x, y = Fraction(crop.left - crop.right, 2), Fraction(crop.top - crop.bottom, 2)
    size = Fraction(width - crop.left - crop.right), Fraction(height - crop.top - crop.bottom)
    numbers = (number for value in (*size, x, y) for number in value.as_integer_ratio())
    return struct.pack(">I4s8i", 40, b"clap", *numbers)


def aperture(crop: Crop) -> bytes:
    return aperture_of(crop, WIDTH, HEIGHT)


def with_aperture(path: Path, box: bytes) -> None:
    """Add a box to the sample description of an MP4 whose index comes last."""
    content = bytearray(path.read_bytes())
    places = [content.index(kind) - 4 for kind in _IN_MP4] + [content.index(b"avc1", 40) - 4]
    begin = places[-1]
    end = begin + int.from_bytes(content[begin : begin + 4], "big")
    assert content.index(b"mdat") < places[0]
    content[end:end] = box
    for place in places:
        size = int.from_bytes(content[place : place + 4], "big") + len(box)
        content[place : place + 4] = size.to_bytes(4, "big")
    path.write_bytes(content)


def element(kind: int, content: bytes) -> bytes:
    """An element of Matroska, with a size of 8 bytes."""
    return (
        kind.to_bytes(-(-kind.bit_length() // 8), "big")
        + ((1 << 56) | len(content)).to_bytes(8, "big")
        + content
    )


def with_pixel_crop(path: Path, **more: int) -> None:
    """Rewrite the video of a Matroska file with other elements; what follows keeps its place."""
    kinds = {
        "width": 0xB0, "height": 0xBA, "left": 0x54CC, "top": 0x54BB, "right": 0x54DD,
        "bottom": 0x54AA, "display_width": 0x54B0, "display_height": 0x54BA,
    }  # fmt: skip
    fields = {"width": WIDTH, "height": HEIGHT, **more}
    video = element(0xE0, b"".join(element(kinds[n], bytes([v])) for n, v in fields.items()))
    content = path.read_bytes()
    # The elements around it have sizes of 8 bytes (the track) and 2 (all tracks).
    begin = content.index(bytes([0xE0, 0x80 | 10, 0xB0, 0x81, WIDTH]))
    track, tracks = (
        content.rindex(b"\xae\x01", 0, begin),
        content.rindex(b"\x16\x54\xae\x6b", 0, begin),
    )
    more_bytes = len(video) - 12
    content = bytearray(content)
    content[begin : begin + 12] = video
    size = int.from_bytes(content[track + 1 : track + 9], "big") + more_bytes
    content[track + 1 : track + 9] = size.to_bytes(8, "big")
    size = int.from_bytes(content[tracks + 4 : tracks + 6], "big") + more_bytes
    content[tracks + 4 : tracks + 6] = size.to_bytes(2, "big")
    # Taken from the unused bytes (Void) in front.
    void = content.index(b"\xec\x01\x00\x00\x00")
    size = int.from_bytes(content[void + 1 : void + 9], "big") - more_bytes
    assert 0 <= size - (1 << 56) < 100
    content[void + 1 : void + 9 + more_bytes] = size.to_bytes(8, "big")
    path.write_bytes(content)


@pytest.mark.parametrize("crop", CROPS, ids=str)
def test_the_clean_aperture_is_shown(tmp_path: Path, crop: Crop) -> None:
    path = write_pictures(tmp_path / "clip.mp4", [STORED] * 3)
    with_aperture(path, aperture(crop))
    clip = read(path)
    np.testing.assert_array_equal(clip.frames[2], shown(crop))
    size = shown(crop).shape[1::-1]
    assert (clip.info.width, clip.info.height) == size == (probe(path).width, probe(path).height)
    assert clip.warnings == ()


def test_the_crop_is_of_the_stored_frame_before_it_is_turned(tmp_path: Path) -> None:
    def turn(stream: av.VideoStream) -> None:
        stream.set_display_rotation(-90)

    path = write_pictures(tmp_path / "clip.mp4", [STORED] * 3, prepare=turn)
    with_aperture(path, aperture(CROPS[0]))
    np.testing.assert_array_equal(read(path).frames[0], np.rot90(shown(CROPS[0]), -1))


def test_a_frame_that_is_scaled_down_is_cropped_alike(tmp_path: Path) -> None:
    """Four colours, of which the crop leaves the inner corners."""
    colours = np.array([[[220, 20, 20], [20, 200, 20]], [[20, 20, 220], [230, 230, 230]]], np.uint8)
    path = write_pictures(tmp_path / "clip.mp4", [colours.repeat(10, 0).repeat(16, 1)] * 2)
    with_aperture(path, aperture(Crop(8, 5, 8, 5)))
    frame = read(path, Sampling(frames=1, max_pixels=40)).frames[0]
    assert frame.shape == (5, 8, 3)
    np.testing.assert_allclose(
        frame[[0, 0, -1, -1], [0, -1, 0, -1]].reshape(2, 2, 3), colours, atol=40
    )


@pytest.mark.parametrize(
    "box",
    [
        struct.pack(">I4s8i", 40, b"clap", 64, 1, 20, 1, 0, 1, 0, 1),  # wider than the frame
        struct.pack(">I4s8i", 40, b"clap", 16, 1, 10, 1, 40, 1, 0, 1),  # beside it
        struct.pack(">I4s8i", 40, b"clap", 16, 0, 10, 1, 0, 1, 0, 1),
        struct.pack(">I4s8i", 40, b"clap", 32, 1, 20, 1, 0, 1, 0, 1),  # all of it
        struct.pack(">I4s4i", 24, b"clap", 16, 1, 10, 1),
    ],
)
def test_an_impossible_aperture_is_ignored(tmp_path: Path, box: bytes) -> None:
    path = write_pictures(tmp_path / "clip.mp4", [STORED] * 2)
    with_aperture(path, box)
    np.testing.assert_array_equal(read(path).frames[0], STORED)


def test_pixel_crop_is_not_shown(tmp_path: Path) -> None:
    path = write_pictures(tmp_path / "clip.mkv", [STORED] * 3)
    with_pixel_crop(path, left=5, top=2, right=3, bottom=7)
    clip = read(path)
    assert len(clip.frames) == 3
    np.testing.assert_array_equal(clip.frames[2], shown(CROPS[0]))


def test_the_display_size_is_that_of_the_cropped_frame(tmp_path: Path) -> None:
    path = write_pictures(tmp_path / "clip.mkv", [STORED] * 3)
    with_pixel_crop(path, left=8, right=8, display_width=32, display_height=20)
    info = read(path).info
    assert (info.width, info.height, info.pixel_aspect) == (32, 20, 2)


def test_headers_with_wide_fields_and_without_sizes() -> None:
    def box(kind: bytes, *content: bytes) -> bytes:
        return struct.pack(">I4s", 8 + sum(map(len, content)), kind) + b"".join(content)

    def track(number: int, *edits: tuple[int, int]) -> bytes:
        entries = b"".join(struct.pack(">Qqi", *edit, 65536) for edit in edits)
        return box(
            b"trak",
            box(b"tkhd", b"\1\0\0\7", bytes(16), struct.pack(">I", number), bytes(72)),
            box(b"edts", box(b"elst", b"\1\0\0\0", struct.pack(">I", len(edits)), entries)),
            box(b"mdia", box(b"mdhd", b"\1\0\0\0", bytes(16), struct.pack(">IQ", 1000, 5000))),
        )

    tracks = [track(1, (10, 0)), track(2, (0, 0)), track(3, (9, -5), (9, 0)), track(4, (9, 5000))]
    movie = box(b"ftyp", b"isom") + box(b"moov", box(b"mvhd", bytes(100)), *tracks)
    assert [one.is_hidden for one in track_headers(io.BytesIO(movie))] == [False, True, True, True]
    fragmented = box(b"moov", box(b"mvex"), *tracks)
    assert not any(one.is_hidden for one in track_headers(io.BytesIO(fragmented)))
    # A recording of Matroska: its segment has no size.
    video = element(0xE0, element(0xB0, b"\x20") + element(0xBA, b"\x14") + element(0x54CC, b"\5"))
    sound = element(0xAE, element(0x83, b"\2"))
    tracks_of = element(0x1654AE6B, sound + element(0xAE, element(0x83, b"\1") + video))
    live = element(0x1A45DFA3, b"") + b"\x18\x53\x80\x67\x01" + b"\xff" * 7 + tracks_of
    assert track_headers(io.BytesIO(live)) == (TrackHeader(0, Crop(left=5)),)
    for cut in range(len(live)):
        assert track_headers(io.BytesIO(live[:cut])) == ()
