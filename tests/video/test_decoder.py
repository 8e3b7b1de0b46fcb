"""A process that decodes: it is believed nothing unchecked, and what a file sends once stays."""

from __future__ import annotations

import json
import os
import re
import signal
import struct
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from dycoke_cli.ask import Ask, Footage
from dycoke_cli.errors import DycokeError, OutOfMemoryError, UsageError, VideoError
from dycoke_cli.loop.reading import Readers, Reading
from dycoke_cli.processes.isolated import MAX_MESSAGE_BYTES
from dycoke_cli.video import decoder
from dycoke_cli.video.clip import Clip
from dycoke_cli.video.decoder import CrashedError, Decoder, OpenClip, sandbox
from dycoke_cli.video.limits import Limits
from dycoke_cli.video.sampling import Sampling
from dycoke_cli.video.subtitles import Line, Subtitles, SubtitleSource, find_source
from tests.processes.sealed import assert_sealed
from tests.processes.test_worker import ended
from tests.runs.parts import REQUEST
from tests.video import taken_over
from tests.video.clips import (
    HEIGHT,
    REAL_VIDEOS,
    WIDTH,
    Recipe,
    box,
    coded_picture,
    full_box,
    numbers_in,
    write_coded,
    write_pictures,
)
from tests.video.inside import plan, read

CLIP = str(Path(__file__).parents[2] / "sample_videos" / "move.mp4")
TWO = Sampling(frames=2)


def test_the_frames_are_those_that_are_read_here() -> None:
    sampling = Sampling(frames=8)
    progress: list[tuple[int, int]] = []
    with Decoder() as child, child.open(CLIP, sampling) as opened:
        here = plan(CLIP, sampling)
        assert opened.plan == here
        clip = opened.read(lambda *done: progress.append(done))
    alone = read(CLIP, sampling)
    assert np.array_equal(clip.frames, alone.frames)
    assert (clip.timestamps_s, clip.info) == (alone.timestamps_s, alone.info)
    assert progress == [(done, 8) for done in range(1, 9)]


@pytest.mark.skipif(sys.platform != "linux", reason="read from /proc")
def test_the_process_is_sealed_before_it_has_a_video() -> None:
    """What the sandbox's own tests prove is proven of this process only if it enters it."""
    with Decoder() as child:
        process = child.start()
        process.await_ready()
        assert_sealed(process.pid)
        assert "seccomp" in process.ready["sealed"]
        assert process.ready["sealed"] == [*sandbox()]
        limits = Path(f"/proc/{process.pid}/limits").read_text()
        [written] = re.findall(r"^Max file size +(\d+) +(\d+)", limits, re.MULTILINE)
        assert written == ("0", "0")


@pytest.mark.slow
def test_real_files_are_read_as_here() -> None:
    """Sealed, a decoder can import nothing any more, and needs nothing."""
    if not REAL_VIDEOS.exists():
        pytest.skip("the sample footage isn't on this machine")
    with Decoder() as child:
        for path in sorted(map(str, REAL_VIDEOS.iterdir())):
            found = find_source(path, "auto", required=False)

            def outcome(reading: Callable[..., Any], path: str = path, found: Any = found) -> Any:
                try:
                    clip = reading(path, Sampling(frames=4), subtitles=found)
                except DycokeError as error:
                    return type(error), str(error)
                return clip.frames.tobytes(), clip.timestamps_s, clip.warnings, clip.subtitles

            assert outcome(child.read) == outcome(read), path


def test_each_video_has_a_process_of_its_own_whatever_came_between(tmp_path: Path) -> None:
    text = tmp_path / "text.mp4"
    text.write_text("no video")
    with Decoder() as child:
        early = child.start()
        early.await_ready()
        with pytest.raises(VideoError, match="is a text file"):
            child.read(str(text), TWO)
        with pytest.raises(UsageError, match="lies beyond the end"):
            child.read(CLIP, Sampling(start_s=1000.0))
        with child.open(CLIP, TWO):
            pass  # its plan was all that was wanted
        with pytest.raises(KeyError), child.open(CLIP, TWO):
            raise KeyError
        pids = {early.pid}
        for _ in range(2):
            with child.open(CLIP, TWO) as opened:
                pids.add(child.start().pid)
                assert all(ended(pid) for pid in pids - {child.start().pid})
                assert len(opened.read().frames) == 2
    assert len(pids) == 3
    assert all(map(ended, pids))


def one_decoder(paths: Sequence[str]) -> list[np.ndarray]:
    with Decoder() as child:
        return [child.read(path, TWO).frames for path in paths]


def read_ahead(paths: Sequence[str]) -> list[np.ndarray]:
    readers = Readers(Limits(), lambda _: None, lambda _: None, lambda _: None, 1)
    asks = [Ask("What?", REQUEST, (Footage(path, path),)) for path in paths]
    begun = [Reading(ask, decoded=True, urgent=False) for ask in asks]
    for reading in begun:
        readers.read(reading)
    for reading in begun:
        reading.wait()
    readers.close()
    return [reading.clips[0].frames for reading in begun]


@pytest.mark.parametrize("reading", [one_decoder, read_ahead])
def test_who_takes_over_a_decoder_answers_about_no_other_video(
    reading: Callable[[Sequence[str]], list[np.ndarray]], monkeypatch: pytest.MonkeyPatch
) -> None:
    by(monkeypatch, "haunt")
    for frames in reading([CLIP, CLIP, CLIP]):
        assert np.array_equal(frames, read(CLIP, TWO).frames)


def test_reading_that_is_left_in_its_midst_spoils_nothing() -> None:
    def leave(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with Decoder() as child:
        with pytest.raises(KeyboardInterrupt), child.open(CLIP, TWO) as opened:
            opened.read(leave)
        assert len(child.read(CLIP, TWO).frames) == 2


def test_a_limit_of_memory() -> None:
    refused = pytest.raises(OutOfMemoryError, match=r"and 0.0 GiB may be taken: scale it down")
    with Decoder(Limits(memory_limit=10**5)) as child, refused:
        child.read(CLIP, TWO)


@pytest.mark.skipif(sys.platform != "linux", reason="signals stop no process on Windows")
def test_a_limit_of_time() -> None:
    with Decoder(Limits(time_limit=1.0)) as child:
        with child.open(CLIP, TWO) as opened:
            os.kill(child.start().pid, signal.SIGSTOP)
            started = time.monotonic()
            says = "isn't decoded after 1 s: convert it, or raise --time-limit"
            with pytest.raises(VideoError, match=says):
                opened.read()
        assert time.monotonic() - started < 10
        assert len(child.read(CLIP, TWO).frames) == 2  # by another process


def by(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(decoder, "PROCESS", f"{taken_over.__name__}:{name}")


@pytest.mark.parametrize(("name", "holds"), [("unsealed", "none"), ("half_sealed", "Landlock")])
def test_without_the_sandbox_nothing_is_read_if_it_is_required(
    name: str, holds: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    by(monkeypatch, name)
    with Decoder() as child:
        assert len(child.read(CLIP, TWO).frames) == 2
    sentence = rf"--require-sandbox: .*isn't sandboxed here .* {holds} holds\); leave it out"
    with Decoder(Limits(require_sandbox=True)) as child, pytest.raises(UsageError, match=sentence):
        child.read(CLIP, TWO)


def test_a_crash_is_an_error_of_the_video(monkeypatch: pytest.MonkeyPatch) -> None:
    by(monkeypatch, "crash")
    with (
        Decoder() as child,
        pytest.raises(CrashedError, match=r"decodes it \(signal 11\): convert"),
    ):
        child.read(CLIP, TWO)


@pytest.mark.parametrize("name", ["nonsense", "long"])
def test_what_no_video_has_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Before memory is taken for it."""
    by(monkeypatch, name)
    with Decoder() as child:
        with pytest.raises(VideoError, match="send what no video has: leave it out"):
            child.read(CLIP, TWO)
        assert child._process is None


def test_what_it_says_is_shown_and_not_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    by(monkeypatch, "escape")
    with Decoder() as child, pytest.raises(VideoError) as error:
        child.read(CLIP, TWO)
    assert str(error.value) == "\\x1b[2J\\u202eevil\\nline"


def test_a_picture_above_4k_is_scaled_as_it_is_read(tmp_path: Path) -> None:
    pictures = [np.zeros((2200, 4400, 3), np.uint8)] * 2
    large = write_pictures(tmp_path / "a.mkv", pictures, codec="mjpeg", pix_fmt="yuvj420p")
    clip = read(large, TWO)
    assert clip.frames.shape[1:3] == (2103, 4206)
    assert (clip.info.width, clip.info.height) == (4400, 2200)


INFO = plan(CLIP, TWO).info
HEADER = {"needs": 1000, "size": [8, 4]}
PLAN: dict[str, Any] = {
    "times_s": [0.0, 1.0],
    "width": 8,
    "height": 4,
    "warnings": [],
    "info": json.loads(json.dumps(asdict(INFO))),
}
LINE = {"start_s": 0.0, "end_s": 1.0, "text": "é"}
LINES: dict[str, Any] = {
    "source": "a\x1b.srt",
    "warnings": [],
    "lines": [LINE, LINE | {"text": "a\n\x1b"}],
}
LAST: dict[str, Any] = {"subtitles": LINES, "warnings": []}
GOOD: list[Any] = [HEADER, {"plan": PLAN}, {"time_s": 0.0}, np.zeros(96, np.uint8), LAST]
"""Messages of a decoder about a video of one frame with two subtitles, and raw bytes."""


class Scripted:
    """A decoder process that sends what it is told."""

    ready: Mapping[str, Any] = {}

    def __init__(self, sent: list[Any]) -> None:
        self.sent = sent

    def await_ready(self) -> None: ...

    def limit(self, **_: Any) -> None: ...

    def send(self, message: Any, files: Any = ()) -> None: ...

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        yield

    def receive(self, most_bytes: int = MAX_MESSAGE_BYTES) -> dict[str, Any]:
        message = self.sent.pop(0)
        assert isinstance(message, dict), "what is read isn't what was sent"
        return message

    def receive_into(self, buffer: memoryview) -> None:
        if len(buffer):
            buffer[:] = self.sent.pop(0).tobytes()


def received(sent: list[Any]) -> Clip:
    """The clip that is made of what a decoder sends."""
    process: Any = Scripted(sent)
    limits = Limits(memory_limit=10**9)
    opened = OpenClip(process, lambda: None, "clip.mp4", limits, lambda needed: None)
    opened.begin([], TWO, None)
    return opened.read()


def test_a_clip_is_made_of_messages_and_raw_bytes() -> None:
    clip = received(GOOD.copy())
    assert clip.timestamps_s == (0.0,)
    assert clip.frames.shape == (1, 4, 8, 3)
    assert clip.subtitles == Subtitles(
        "a\\x1b.srt", (Line(0.0, 1.0, "é"), Line(0.0, 1.0, "a\\n\\x1b"))
    )


NAN = float("nan")
NUMBERS = [-1, 10**400, 2**62, True, 1.5, None, "1", [1], NAN]


@pytest.mark.parametrize(
    ("place", "forged"),
    [
        *((0, HEADER | {"needs": number}) for number in NUMBERS),
        *((0, HEADER | {"size": size}) for size in ([8, 4, 1], [8], [], [8, -4], [8, 10**400], 8)),
        *((1, {"plan": PLAN | {"times_s": [number]}}) for number in (10**400, None, NAN, 1e300)),
        *((1, {"plan": PLAN | {"times_s": times}}) for times in ([], [0.0, 1.0, 2.0], 7)),
        (1, {"plan": []}),
        (1, {"plan": PLAN | {"more": 1}}),
        *((1, {"plan": PLAN | {"warnings": w}}) for w in ([""] * 101, {"a": "b"}, [[[[]]]])),
        (1, {"plan": PLAN | {"width": 10**6, "height": 10**6}}),
        (1, {"plan": PLAN | {"width": 0}}),
        *((2, {"time_s": number}) for number in (10**400, "1", None, NAN)),
        (4, LAST | {"subtitles": []}),
        (4, LAST | {"subtitles": LINES | {"warnings": [""] * 101}}),
        (4, LAST | {"subtitles": LINES | {"source": 7}}),
        *(
            (4, LAST | {"subtitles": LINES | {"lines": [LINE | of]}})
            for of in ({"end_s": "1"}, {"end_s": None}, {"end_s": NAN}, {"text": 7})
        ),
        *((4, LAST | {"warnings": warnings}) for warnings in ([""] * 101, {"a": "b"})),
        *(
            (place, {"error": {"code": code, "message": "m"}})
            for place in (0, 1, 2)
            for code in ("model_unavailable", "", [])
        ),
        *((0, {"error": {"code": "usage", "message": said}}) for said in (7, "", " ")),
        (0, {"error": "usage"}),
    ],
)
def test_what_a_decoder_can_not_have_measured_is_refused(place: int, forged: Any) -> None:
    """No exception of Python's, no error that ends a run, and no memory taken for it."""
    with pytest.raises(VideoError, match="send what no video has: leave it out"):
        received([*GOOD[:place], forged, *GOOD[place + 1 :]])


def test_an_error_of_a_decoder_is_cut() -> None:
    with pytest.raises(UsageError) as error:
        received([{"error": {"code": "usage", "message": "x" * 60_000}}])
    assert str(error.value) == "x" * (1000 + len("clip.mp4"))


def test_many_subtitles_come_over(tmp_path: Path) -> None:
    """More than a message otherwise holds."""
    text, cue = "é語" * 200, "00:00:00,000 --> 00:00:09,000\n"
    path = tmp_path / "many.srt"
    texts = [f"{number} {text}" for number in range(100)]  # equal ones are one for FFmpeg
    path.write_text("".join(f"{number}\n{cue}{text}\n\n" for number, text in enumerate(texts)))
    with Decoder() as child:
        clip = child.read(CLIP, TWO, subtitles=SubtitleSource(str(path)))
    assert [line.text for line in clip.subtitles.lines] == texts


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
        options = (("x264-params", f"{CONFIGURATIONS[half]}:bframes=0"),)
        recipe = Recipe(suffix, frames=CHANGE, rate=RATE, options=options, first=CHANGE * half)
        write_coded(path, recipe)
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
