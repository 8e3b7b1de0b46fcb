"""Videos too large for memory, or made to take it over, are refused before anything is decoded."""

from __future__ import annotations

import struct
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from itertools import product
from pathlib import Path

import av
import numpy as np
import pytest

from dycoke_cli.errors import DycokeError, OutOfMemoryError, VideoError
from dycoke_cli.resources import free_main_memory
from dycoke_cli.video import limits
from dycoke_cli.video.clip import Clip
from dycoke_cli.video.decoder import Decoder
from dycoke_cli.video.sampling import Sampling
from dycoke_cli.video.subtitles import SubtitleSource
from tests.marks import EXTENDED
from tests.video.clips import Recipe, box, full_box, numbers_in, write_growing
from tests.video.conftest import MakeClip
from tests.video.inside import plan, probe, read


def test_picture_above_the_pixel_limit(
    make_clip: MakeClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_clip(Recipe()).path
    monkeypatch.setattr(limits, "MAX_PICTURE_PIXELS", 64 * 48 - 1)
    for look in (probe, plan, read):
        with pytest.raises(
            VideoError, match=r"pictures of 64×48, above the limit of 0\.00307 mega"
        ):
            look(path)  # type: ignore[operator]
    monkeypatch.setattr(limits, "MAX_PICTURE_PIXELS", 64 * 48)  # which it is at
    assert len(read(path, Sampling(frames=2)).frames) == 2


def test_picture_that_grows_beyond_the_limit_is_left_out(
    tmp_path: Path, make_clip: MakeClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = make_clip(Recipe(suffix=".ts", frames=10)).path
    path = write_growing(tmp_path, small, np.zeros((480, 640, 3), np.uint8))
    monkeypatch.setattr(limits, "MAX_PICTURE_PIXELS", 200 * 200)
    clip = read(path, Sampling(frames=100))
    assert numbers_in(clip.frames) == list(range(10))
    assert any("is damaged" in warning for warning in clip.warnings)


@pytest.mark.parametrize(
    ("sampling", "advice"),
    [
        (Sampling(frames=32), "lower --frames to 10"),
        (Sampling(fps=16), "lower --fps, or --max-frames to 10"),
    ],
)
def test_clip_above_the_memory_limit(
    make_clip: MakeClip, monkeypatch: pytest.MonkeyPatch, sampling: Sampling, advice: str
) -> None:
    path = make_clip(Recipe()).path
    monkeypatch.setattr(limits, "MAX_CLIP_BYTES", 10 * 64 * 48 * 3 + 1)
    with Decoder() as decoder, pytest.raises(VideoError) as error:
        decoder.read(str(path), sampling)
    assert str(error.value).startswith(f"32 frames of {path} (64×48) take 0.0 GiB, above the")
    assert str(error.value).endswith(advice)


def test_a_packet_of_a_long_film_takes_few_calls(make_clip: MakeClip) -> None:
    """An hour has 100,000, and is planned in 1.5 s of a processor."""

    def calls(frames: int) -> int:
        counted = Counter[str]()
        path = make_clip(Recipe(frames=frames, gop=50)).path
        sys.setprofile(lambda frame, event, argument: counted.update([event]))
        try:
            plan(path, Sampling(frames=2))
        finally:
            sys.setprofile(None)
        return counted["call"]

    calls(100)  # imports
    assert calls(600) - calls(200) <= 400 * 12


def test_memory_counts_the_frames_that_are_there(
    make_clip: MakeClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_CLIP_BYTES", 50 * 64 * 48 * 3)
    assert len(read(make_clip(Recipe()).path, Sampling(frames=1000)).frames) == 50


def test_more_than_the_memory_that_is_free(
    make_clip: MakeClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, needed = make_clip(Recipe()).path, list[int]()
    with Decoder() as decoder:
        decoder.read(str(path), Sampling(frames=2), admit=needed.append)
        monkeypatch.setattr(limits, "free_main_memory", lambda: 2 * needed[-1])
        assert len(decoder.read(str(path), Sampling(frames=2)).frames) == 2
        monkeypatch.setattr(limits, "free_main_memory", lambda: 2 * needed[-1] - 2)
        with pytest.raises(OutOfMemoryError) as error:
            decoder.read(str(path), Sampling(frames=2))
        with decoder.open(str(path), Sampling(frames=2)) as opened:
            assert opened.plan.times_s  # what would be read can still be said
    assert needed[-1] - needed[0] == 2 * 64 * 48 * 3
    assert error.value.exit_code == 5
    assert str(error.value).startswith(
        f"to read 2 frames of {path} (64×48) takes 0.0 GiB of memory"
    )
    monkeypatch.setattr(limits, "free_main_memory", lambda: 64 * 48)
    with pytest.raises(OutOfMemoryError, match="to read a frame of"):
        plan(path)


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="peaks are read from /proc"),
]
FOUR = Sampling(frames=4)
GB = 10**9
ROOT = Path(__file__).parents[2]


def gif(path: Path, side: int, frames: int) -> Path:
    """Pictures of which one pixel is coded."""
    screen = side.to_bytes(2, "little")
    frame = b"\x21\xf9\x04\0\x0a\0\0\0\x2c\0\0\0\0\x01\0\x01\0\0\x02\x02\x4c\x01\0"
    head = b"GIF89a" + 2 * screen + b"\x80\0\0" + b"\0\0\0\xff\xff\xff"
    path.write_bytes(head + frames * frame + b"\x3b")
    return path


def png(side: int) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(1 + 4 * side)) for _ in range(side)) + packer.flush()
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 6, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def pngs(folder: Path) -> Path:
    """A film of one PNG of 256 MB, 10 MB in all."""
    path, picture = folder / "pngs.mov", png(7999)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("png", rate=10)
        stream.width = stream.height = 7999
        stream.pix_fmt = "rgba"
        for number in range(40):
            packet = av.Packet(picture)
            packet.stream, packet.time_base = stream, Fraction(1, 10)
            packet.pts = packet.dts = number
            packet.is_keyframe = True
            container.mux(packet)
    return path


def many_references(folder: Path) -> Path:
    """Sixteen pictures of 3000×3000 in 10 bits are kept to refer to."""
    path = folder / "references.mp4"
    options = {"preset": "ultrafast", "x264-params": "ref=16:bframes=8:keyint=60:level=6.2"}
    block = np.random.default_rng(0).integers(0, 255, (60, 60, 3), np.uint8)
    picture = block.repeat(50, 0).repeat(50, 1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options=options)
        stream.width = stream.height = 3000
        stream.pix_fmt = "yuv420p10le"
        for number in range(30):
            moved = np.ascontiguousarray(np.roll(picture, 7 * number, 1))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(moved, format="rgb24")))
        container.mux(stream.encode())
    return path


def fragments(folder: Path) -> Path:
    """19 KB of MP4 that declare 72 million samples of a byte each."""
    matrix = struct.pack(">9I", 65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30)
    times = struct.pack(">IIII", 0, 0, 1000, 0)
    movie = full_box(b"mvhd", times, struct.pack(">IH", 65536, 256), bytes(10), matrix, bytes(28))
    sizes = struct.pack(">II", 64 << 16, 48 << 16)
    track = full_box(
        b"tkhd", struct.pack(">IIIII", 0, 0, 1, 0, 0), bytes(16), matrix, sizes, flags=7
    )
    looks = struct.pack(">HH", 64, 48) + struct.pack(">II", 72 << 16, 72 << 16) + bytes(4)
    entry = box(
        b"jpeg", bytes(6), b"\0\1", bytes(16), looks, b"\0\1", bytes(32), struct.pack(">Hh", 24, -1)
    )
    table = box(
        b"stbl",
        full_box(b"stsd", struct.pack(">I", 1), entry),
        *(full_box(kind, bytes(4)) for kind in (b"stts", b"stsc", b"stco")),
        full_box(b"stsz", bytes(8)),
    )
    place = box(b"dinf", full_box(b"dref", struct.pack(">I", 1), full_box(b"url ", flags=1)))
    media = box(
        b"mdia",
        full_box(b"mdhd", times, struct.pack(">HH", 0x55C4, 0)),
        full_box(b"hdlr", bytes(4), b"vide", bytes(14)),
        box(b"minf", full_box(b"vmhd", bytes(8), flags=1), place, table),
    )
    usual = box(b"mvex", full_box(b"trex", struct.pack(">IIIII", 1, 1, 40, 1, 0)))
    content = box(b"ftyp", b"isom", struct.pack(">I", 512), b"isomiso6mp41")
    content += box(b"moov", movie, box(b"trak", track, media), usual)
    for number in range(180):
        run = full_box(b"trun", struct.pack(">Ii", 400_000, 0), flags=1)
        start = full_box(b"tfdt", struct.pack(">I", number))
        one = box(b"traf", full_box(b"tfhd", struct.pack(">I", 1), flags=0x20000), start, run)
        content += box(b"moof", full_box(b"mfhd", struct.pack(">I", number)), one)
        content += box(b"mdat", bytes(8))
    path = folder / "fragments.mp4"
    path.write_bytes(content)
    return path


class Watched(Decoder):
    """Notes the most memory that its process had, for it ends with the video."""

    most = 0

    def stop(self) -> None:
        if self._process is not None and self._process.pid:
            self.most = max(self.most, peak_of(self._process.pid))
        super().stop()


def peak_of(pid: int) -> int:
    """Bytes that a process had at once, at most; 0 where it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    peak = status.partition("VmHWM:")[2].split()
    return 1024 * int(peak[0]) if peak else 0


def read_in_process(
    path: Path, subtitles: Path | None = None
) -> tuple[Clip | DycokeError, int, float]:
    """What comes of a file, the most memory, and the time."""
    source = None if subtitles is None else SubtitleSource(str(subtitles))
    with Watched() as decoder:
        process = decoder.start()
        process.await_ready()
        before, begun = peak_of(process.pid), time.monotonic()
        assert before
        found: Clip | DycokeError
        try:
            found = decoder.read(str(path), FOUR, subtitles=source)
        except DycokeError as error:
            found = error
        return found, decoder.most - before, time.monotonic() - begun


@pytest.mark.parametrize(
    ("make", "most"),
    [
        (lambda folder: gif(folder / "large.gif", 7999, 9), 2 * GB),
        (pngs, 1.4 * GB),
        (many_references, 1.2 * GB),
    ],
)
def test_huge_pictures_of_small_files(
    tmp_path: Path, make: Callable[[Path], Path], most: float
) -> None:
    if (free_main_memory() or 0) < 6 * GB:
        pytest.skip("less than 6 GB of memory are free on this machine")
    found, peak, _ = read_in_process(make(tmp_path))
    assert isinstance(found, Clip), found
    assert found.frames.shape[0] == 4
    assert 0 < peak < most


def test_an_index_that_is_larger_than_its_file(tmp_path: Path) -> None:
    found, peak, _ = read_in_process(fragments(tmp_path))
    assert isinstance(found, OutOfMemoryError), found
    assert "takes far more memory than its pictures account for: convert it, or" in str(found)
    assert peak < 0.7 * GB


def test_a_million_pictures_are_refused_in_a_moment(tmp_path: Path) -> None:
    found, peak, seconds = read_in_process(gif(tmp_path / "million.gif", 2, 10**6))
    assert isinstance(found, VideoError)
    assert "has more than 100,000 pictures: convert it to MP4" in str(found)
    assert peak < 0.2 * GB
    assert seconds < 60


def cues(text: str, count: int = 1) -> str:
    times = "00:00:00,000 --> 00:00:09,000"
    # Of equal ones FFmpeg keeps one.
    return "".join(f"{n}\n{times}\n{text}{n or ''}\n\n" for n in range(count))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (
            lambda: cues("hi", 900_000),
            "take far more memory than those of a film: leave out --subtitles",
        ),
        (lambda: cues(50_000_000 * "x"), "take far more memory than those of a film"),
        *(
            pytest.param(*case, marks=EXTENDED)
            for case in (
                (lambda: cues(60_000 * "y", 1000), "take far more memory than those of a film"),
                (lambda: "\0" * 30_000_000, "take far more memory than those of a film"),
                (lambda: "00:00:00,000 --> 00:00:09,000\n" * 250_000, "have no line of text"),
            )
        ),
    ],
    ids=["cues", "one line", "long cues", "zeros", "times"],
)
def test_subtitles_of_any_size_end_in_a_sentence(
    tmp_path: Path, content: Callable[[], str], sentence: str
) -> None:
    path = tmp_path / "lines.srt"
    path.write_text(content())
    found, peak, seconds = read_in_process(ROOT / "sample_videos" / "move.mp4", path)
    assert sentence in str(found)
    assert "move.mp4" not in str(found)  # it isn't the video's fault
    assert peak < 0.4 * GB
    assert seconds < 60


ODD_TIMES = [
    "9999999999999:00:00,000 --> 99999999999999:00:09,000",
    "-1:00:00,000 --> 00:00:09,000",
    "99:99:99,999 --> 100:99:99,999",
]


@pytest.mark.parametrize(("suffix", "times"), [*product(("srt", "vtt"), ODD_TIMES)])
def test_times_far_out_cost_their_own_line(tmp_path: Path, suffix: str, times: str) -> None:
    content = f"1\n{times}\nodd\n\n" + cues("read")
    if suffix == "vtt":
        content = "WEBVTT\n\n" + content.replace(",", ".")
    path = tmp_path / f"odd.{suffix}"
    path.write_text(content)
    found, _, _ = read_in_process(ROOT / "sample_videos" / "move.mp4", path)
    assert isinstance(found, Clip), found
    assert found.subtitles.text.splitlines()[-1] == "read"
