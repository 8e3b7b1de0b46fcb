"""State that a file sends once: palettes, and decoder configurations that change in mid-file.

A frame behind it is decoded with it, whether it is reached from the beginning or by a seek.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from dycoke_cli.video import Sampling
from tests.video.clips import HEIGHT, WIDTH, coded_picture, numbers_in
from tests.video.inside import read

FRAMES, RATE, CHANGE = 40, 10, 20
# Each reaches its frames in another way.
SAMPLINGS = (
    Sampling(frames=FRAMES),
    Sampling(frames=1),
    Sampling(frames=3),
    Sampling(frames=2, start_s=0.5, end_s=1.0),
    Sampling(frames=3, start_s=2.35),
    Sampling(frames=1, start_s=2.85, end_s=2.95),
)


def assert_numbered(path: Path) -> None:
    """Frame i of a clip shows the number i, in every sampling, and nothing is said of it."""
    for sampling in SAMPLINGS:
        clip = read(path, sampling)
        assert numbers_in(clip.frames) == [round(RATE * time) for time in clip.timestamps_s]
        assert len(clip.frames) == sampling.frames
        assert clip.warnings == ()


def paletted(path: Path, codec: str) -> Path:
    """Frames of 8 bits whose palette is another one from `CHANGE` on."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=RATE)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "pal8"
        stream.codec_context.gop_size = 10
        for number in range(FRAMES):
            # QuickTime has one palette for all frames.
            dark, bright = (3, 10) if number < CHANGE or path.suffix == ".mov" else (7, 4)
            bits = coded_picture(number)[..., 0] > 127
            frame = av.VideoFrame(WIDTH, HEIGHT, "pal8")
            stored = np.zeros((HEIGHT, frame.planes[0].line_size), np.uint8)
            stored[:, :WIDTH] = np.where(bits, bright, dark)
            frame.planes[0].update(stored.tobytes())
            palette = np.full((256, 4), 255, np.uint8)
            palette[[3, 10]] = (18, 18, 18, 255), (238, 238, 238, 255)
            if number >= CHANGE and path.suffix != ".mov":
                palette[[3, 10, 7, 4]] = palette[[10, 3, 3, 10]]
            frame.planes[1].update(palette.tobytes())
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [
        (".avi", "rawvideo"),
        (".mov", "rawvideo"),
        (".mov", "msrle"),
        (".mov", "smc"),
        (".nut", "rawvideo"),
    ],
)
def test_a_palette(tmp_path: Path, suffix: str, codec: str) -> None:
    assert_numbered(paletted(tmp_path / f"clip{suffix}", codec))


# Two streams of H.264 that can't be decoded with each other's configuration.
CONFIGURATIONS = ("cabac=0:ref=1", "cabac=1:ref=4:8x8dct=1")


def halves(folder: Path, suffix: str) -> list[Path]:
    paths = [folder / f"{half}{suffix}" for half in range(2)]
    for half, path in enumerate(paths):
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=RATE)
            stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
            stream.codec_context.gop_size, stream.codec_context.max_b_frames = 10, 0
            stream.options = {"x264-params": CONFIGURATIONS[half]}
            for number in range(CHANGE):
                picture = coded_picture(CHANGE * half + number)
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts, frame.time_base = number, Fraction(1, RATE)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    return paths


def joined_flv(parts: Sequence[Path], path: Path) -> None:
    """Append the video tags of the second file, later in time: as after a reconnection."""
    first, second = (part.read_bytes() for part in parts)
    content, place = bytearray(first), 13
    while place < len(second):
        size = int.from_bytes(second[place + 1 : place + 4], "big")
        tag = bytearray(second[place : place + 11 + size + 4])
        time_ms = int.from_bytes(tag[4:7], "big") + 1000 * CHANGE // RATE
        tag[4:7] = time_ms.to_bytes(3, "big")
        if tag[0] == 9:
            content += tag
        place += len(tag)
    path.write_bytes(content)


def box(kind: bytes, *content: bytes) -> bytes:
    body = b"".join(content)
    return struct.pack(">I4s", len(body) + 8, kind) + body


def full_box(kind: bytes, *content: bytes) -> bytes:
    return box(kind, bytes(4), *content)


def numbers(*values: int) -> bytes:
    return struct.pack(f">{len(values)}I", *values)


def joined_mp4(parts: Sequence[Path], path: Path) -> None:
    """Write an MP4 with a sample description per part (ISO/IEC 14496-12)."""
    samples, keyframes, chunks, entries = list[bytes](), list[int](), b"", b""
    for description, part in enumerate(parts, 1):
        with av.open(str(part)) as container:
            stream = container.streams.video[0]
            chunks += numbers(len(samples) + 1, 1, description)
            for packet in container.demux(stream):
                if packet.size:
                    samples.append(bytes(packet))
                    keyframes += [len(samples)] if packet.is_keyframe else []
            head = bytes(6) + b"\0\1" + bytes(16) + struct.pack(">HH", WIDTH, HEIGHT)
            rest = numbers(0x480000, 0x480000, 0) + b"\0\1" + bytes(32) + b"\0\x18\xff\xff"
            configuration = box(b"avcC", bytes(stream.codec_context.extradata or b""))
            entries += box(b"avc1", head, rest, configuration)
    count, kind = len(samples), box(b"ftyp", b"isom", bytes(4), b"isom")
    identity = numbers(65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30)

    def index(begin: int) -> bytes:
        places = [begin + sum(map(len, samples[:i])) for i in range(count)]
        table = box(
            b"stbl",
            full_box(b"stsd", numbers(len(parts)), entries),
            full_box(b"stts", numbers(1, count, 1)),
            # Shown two frames after they are decoded, so a seek may find a keyframe too late.
            full_box(b"ctts", numbers(1, count, 2)),
            full_box(b"stss", numbers(len(keyframes), *keyframes)),
            full_box(b"stsc", numbers(len(parts)), chunks),
            full_box(b"stsz", numbers(0, count, *map(len, samples))),
            full_box(b"stco", numbers(count, *places)),
        )
        here = box(b"dinf", full_box(b"dref", numbers(1), box(b"url ", b"\0\0\0\1")))
        media = box(
            b"mdia",
            full_box(b"mdhd", numbers(0, 0, RATE, count, 0)),
            full_box(b"hdlr", bytes(4), b"vide", bytes(13)),
            box(b"minf", box(b"vmhd", b"\0\0\0\1", bytes(8)), here, table),
        )
        size = numbers(WIDTH << 16, HEIGHT << 16)
        track = box(b"tkhd", b"\0\0\0\7", numbers(0, 0, 1, 0, count), bytes(16), identity, size)
        movie = numbers(0, 0, RATE, count, 65536, 1 << 24), bytes(8), identity, bytes(24)
        return box(b"moov", full_box(b"mvhd", *movie, numbers(2)), box(b"trak", track, media))

    begin = len(kind) + len(index(0)) + 8
    path.write_bytes(kind + index(begin) + box(b"mdat", *samples))


@pytest.mark.parametrize(("suffix", "join"), [(".flv", joined_flv), (".mp4", joined_mp4)])
def test_a_configuration_that_changes(
    tmp_path: Path, suffix: str, join: Callable[[Sequence[Path], Path], None]
) -> None:
    path = tmp_path / f"joined{suffix}"
    join(halves(tmp_path, suffix), path)
    assert_numbered(path)
