"""Videos made at test time. Each frame carries its own number as black and white blocks.

So a test reads from the pixels which frame it was given, whatever the time stamps say.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path

import av
import numpy as np

WIDTH, HEIGHT = 64, 48
_COLUMNS, _ROWS = 4, 4  # 16 bits
REAL_VIDEOS = Path(__file__).parents[3] / "shared" / "videos"


@dataclass(frozen=True)
class CodedClip:
    """A video whose frame i shows the number i.

    times_s: time of each frame relative to the first one, exact to a millisecond.
    """

    path: Path
    times_s: tuple[float, ...]

    def nearest(self, time_s: Fraction | float) -> int:
        """Number of the frame nearest to a time, the earlier of two: by brute force."""
        if isinstance(time_s, float):
            away = [abs(time - time_s) for time in self.times_s]
        else:
            wanted, of = (1000 * time_s).as_integer_ratio()
            away = [abs(time * of - wanted) for time in self.times_ms]
        return away.index(min(away))

    def evenly(self, count: int) -> list[Fraction]:
        """`count` evenly spaced times from the first frame to the last, without rounding."""
        last = Fraction(self.times_ms[-1], 1000)
        return [last * step / (count - 1) for step in range(count)]

    @cached_property
    def times_ms(self) -> list[int]:
        """`times_s` without rounding."""
        return [round(1000 * time) for time in self.times_s]


@dataclass(frozen=True)
class Recipe:
    """How a clip is written. `times_ms` None: `frames` of them at a constant `rate`."""

    suffix: str = ".mp4"
    codec: str = "libx264"
    frames: int = 50
    rate: int = 25
    times_ms: tuple[int, ...] | None = None
    gop: int = 10
    pix_fmt: str = "yuv420p"
    options: tuple[tuple[str, str], ...] = ()
    container_options: tuple[tuple[str, str], ...] = ()
    sound_s: float = 0.0
    first: int = 0  # the number that its first frame shows


def coded_picture(number: int) -> np.ndarray:
    """RGB [HEIGHT, WIDTH, 3] that shows a 16-bit number."""
    bits = [(number >> bit) & 1 for bit in range(_COLUMNS * _ROWS)]
    grid = np.array(bits, np.uint8).reshape(_ROWS, _COLUMNS) * 220 + 18
    blocks = np.kron(grid, np.ones((HEIGHT // _ROWS, WIDTH // _COLUMNS), np.uint8))
    return np.repeat(blocks[:, :, None], 3, axis=2)


def numbers_in(frames: np.ndarray) -> list[int]:
    """The numbers that pictures [F, H, W, 3] of any size show."""
    height, width = frames.shape[1] // _ROWS, frames.shape[2] // _COLUMNS
    blocks = frames[:, : height * _ROWS, : width * _COLUMNS]
    blocks = blocks.reshape(len(frames), _ROWS, height, _COLUMNS, width, 3)
    bits = blocks.mean((2, 4, 5)).reshape(-1, _ROWS * _COLUMNS) > 127
    return (bits @ (1 << np.arange(_ROWS * _COLUMNS))).tolist()


def write_coded(path: Path, recipe: Recipe) -> CodedClip:
    """Write a coded clip by its recipe."""
    times_ms = recipe.times_ms or tuple(
        round(1000 * number / recipe.rate) for number in range(recipe.frames)
    )
    with av.open(str(path), "w", options=dict(recipe.container_options)) as container:
        stream = container.add_stream(recipe.codec, rate=recipe.rate)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, recipe.pix_fmt
        stream.codec_context.gop_size = recipe.gop
        stream.options = dict(recipe.options)
        uneven = recipe.times_ms is not None
        if uneven:
            stream.codec_context.time_base = Fraction(1, 1000)
        sound = container.add_stream("aac", rate=8000) if recipe.sound_s else None
        for number, time_ms in enumerate(times_ms):
            picture = coded_picture(recipe.first + number)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = time_ms if uneven else number
            frame.time_base = Fraction(1, 1000) if uneven else Fraction(1, recipe.rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if sound is not None:
            _add_silence(container, sound, recipe.sound_s)
    first = times_ms[0]
    return CodedClip(path, tuple((time - first) / 1000 for time in times_ms))


def _add_silence(
    container: av.container.OutputContainer, stream: av.AudioStream, seconds: float
) -> None:
    frame = av.AudioFrame.from_ndarray(
        np.zeros((1, int(8000 * seconds)), np.float32), format="fltp", layout="mono"
    )
    frame.sample_rate = 8000
    container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def write_pictures(
    path: Path,
    pictures: Sequence[np.ndarray],
    *,
    codec: str = "libx264rgb",
    pix_fmt: str = "rgb24",
    rate: int = 10,
    prepare: Callable[[av.VideoStream], None] | None = None,
) -> Path:
    """Write pictures, [H, W, 3] (RGB) or [H, W, 4] (RGBA), by default without loss."""
    colors = {3: "rgb24", 4: "rgba"}[pictures[0].shape[2]]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = pix_fmt
        stream.options = {"qp": "0"}
        if prepare is not None:
            prepare(stream)
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format=colors)
            frame.pts, frame.time_base = number, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_growing(folder: Path, small: Path, picture: np.ndarray) -> Path:
    """Append a second of a picture to one of MPEG-TS, which can be joined like text."""
    large = write_pictures(folder / "large.mp4", [picture] * 10, codec="libx264", pix_fmt="yuv420p")
    late, path = folder / "late.ts", folder / "both.ts"
    with av.open(str(large)) as source, av.open(str(late), "w") as out:
        remuxed(source, out, shift_s=1)()
    path.write_bytes(small.read_bytes() + late.read_bytes())
    return path


def write_rgba(
    path: Path, codec: str, pix_fmt: str, pictures: Sequence[np.ndarray], **options: object
) -> Path:
    """Write RGBA pictures [H, W, 4] at 10 frames per second, as well as the codec can.

    Args:
        pictures: uint8.
    """

    def prepare(stream: av.VideoStream) -> None:
        quality = {"libvpx-vp9": {"lossless": "1"}, "libvpx": {"auto-alt-ref": "0"}}
        stream.options = quality.get(codec, {})
        for name, value in options.items():
            setattr(stream.codec_context, name, value)

    return write_pictures(path, pictures, codec=codec, pix_fmt=pix_fmt, prepare=prepare)


def write_yuv(
    path: Path,
    values: tuple[int, int, int],
    *,
    pix_fmt: str = "yuv420p",
    size: tuple[int, int] = (32, 16),
    colorspace: int = 2,
    color_range: int = 0,
    color_trc: int = 2,
) -> Path:
    """Write 3 frames whose stored Y, U and V are these values in every pixel, without loss."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height = size
        stream.pix_fmt = pix_fmt
        stream.options = {"qp": "0"}
        context = stream.codec_context
        context.colorspace, context.color_range, context.color_trc = (
            colorspace,
            color_range,
            color_trc,
        )
        for number in range(3):
            frame = av.VideoFrame(*size, pix_fmt)
            wide = frame.format.components[0].bits > 8
            for plane, value in zip(frame.planes, values, strict=True):
                one = value.to_bytes(2 if wide else 1, "little")
                plane.update(one * (plane.buffer_size // len(one)))
            frame.pts, frame.time_base = number, Fraction(1, 10)
            frame.colorspace, frame.color_range = colorspace, color_range
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_sound(path: Path, seconds: float = 1.0) -> Path:
    """Write a file with sound and no video."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        _add_silence(container, stream, seconds)
    return path


def remuxed(
    source: av.container.InputContainer,
    out: av.container.OutputContainer,
    shift_s: Fraction | int = 0,
) -> Callable[[], None]:
    """Add the first video stream of one file to another, later by a time.

    What is returned writes its packets.
    """
    video = source.streams.video[0]
    copy = out.add_stream_from_template(video)

    def write() -> None:
        for packet in source.demux(video):
            if packet.dts is not None:
                packet.pts += int(shift_s / packet.time_base)
                packet.dts += int(shift_s / packet.time_base)
                packet.stream = copy
                out.mux(packet)

    return write


def box(kind: bytes, *content: bytes) -> bytes:
    """A box of an MP4 (ISO/IEC 14496-12)."""
    body = b"".join(content)
    return struct.pack(">I4s", len(body) + 8, kind) + body


def full_box(kind: bytes, *content: bytes, flags: int = 0) -> bytes:
    """A box that begins with a version, which is 0, and flags."""
    return box(kind, struct.pack(">I", flags), *content)


def with_edits(path: Path, entries: int) -> bytes:
    """An MP4 whose edit list shows its begin so many times more."""
    content = bytearray(path.read_bytes())
    more = struct.pack(">IiI", 1, 0, 65536) * entries
    place = content.index(b"elst") + 4
    content[place + 4 : place + 8] = struct.pack(">I", 1 + entries)
    content[place + 20 : place + 20] = more
    for name in (b"moov", b"trak", b"edts", b"elst"):
        size = content.index(name) - 4
        length = int.from_bytes(content[size : size + 4], "big") + len(more)
        content[size : size + 4] = struct.pack(">I", length)
    return bytes(content)
