"""Subtitles: what files and streams hold, and which of their lines are shown at which frames."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import time
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from dycoke_cli.errors import UsageError
from dycoke_cli.storage.made_files import write_made
from dycoke_cli.video.sampling import Sampling
from dycoke_cli.video.subtitles import AUTO, HEADER, Line, Subtitles, SubtitleSource, find_source
from tests.video.clips import Recipe, remuxed
from tests.video.conftest import MakeClip
from tests.video.inside import read, read_subtitles

SRT = """1
00:00:00,500 --> 00:00:01,000
<font color="white" size=".72c">Hello <i>there</i></font>

2
00:00:00,900 --> 00:00:01,500
{\\an8}Two lines
- second & <b>third</b>, x < 3 <3
"""
VTT = """WEBVTT

NOTE nobody reads this

00:00.500 --> 00:01.000 line:80%
<v Bob>Hello <i>there</i>

00:00.900 --> 00:01.500
Two lines
- second &amp; <c.red>third</c>, x &lt; 3 &lt;3
"""
ASS = """[Script Info]
ScriptType: v4.00+

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
Comment: 0,0:00:00.00,0:00:09.00,Default,,0,0,0,,nobody reads this
Dialogue: 0,0:00:00.50,0:00:01.00,Default,,0,0,0,,<b>Hello</b> {\\i1}there{\\i0}{a comment}
Dialogue: 0,0:00:00.90,0:00:01.50,Default,,0,0,0,,{\\an8}Two lines\\N- second & third, x < 3 <3
Dialogue: 0,0:00:00.00,0:00:09.00,Default,,0,0,0,,{\\p1}m 0 0 l 100 0{\\p0}
"""
LINES = (Line(0.5, 1.0, "Hello there"), Line(0.9, 1.5, "Two lines - second & third, x < 3 <3"))


@pytest.fixture
def file(tmp_path: Path) -> Callable[[str | bytes], Path]:
    def write(content: str | bytes, name: str = "any") -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def muxed(
    clip: Path,
    path: Path,
    *texts: str,
    default: int = 0,
    start: Fraction | int = 0,
    sound: bool = False,
    forced: int | None = None,
    title: str | None = None,
) -> Path:
    """A copy of a video with streams of subtitles; it begins at `start` of its clock.

    `sound`: with audio from 0 s on. `forced`: number of a stream of subtitles that is marked so.
    `title`: of the first stream of subtitles.
    """
    with av.open(str(clip)) as source, av.open(str(path), "w") as out:
        write_video = remuxed(source, out, shift_s=start)
        if sound:
            audio = out.add_stream("pcm_s16le" if path.suffix == ".mkv" else "aac", rate=8000)
            audio.layout = "mono"
        added = []
        for number, text in enumerate(texts):
            lines = av.open(io.BytesIO(text.encode()))
            stream = out.add_stream_from_template(lines.streams[0])
            if number == default:
                stream.disposition = av.stream.Disposition.default
            if number == 0 and title is not None:
                stream.metadata["title"] = title
            if number == forced:
                stream.disposition |= av.stream.Disposition.forced
            added.append((lines, stream))
        if sound:
            silence = np.zeros((1, 8000 * (int(start) + 1)), np.float32)
            frame = av.AudioFrame.from_ndarray(silence, format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 8000, 0
            for encoded in (*audio.encode(frame), *audio.encode(None)):
                out.mux(encoded)
        write_video()
        for lines, stream in added:
            for packet in lines.demux(lines.streams[0]):
                if packet.size:
                    packet.stream = stream
                    out.mux(packet)
    return path


@pytest.mark.parametrize("content", [SRT, VTT, ASS, SRT.replace("\n", "\r\n")])
def test_every_format_is_read_without_what_styles_it(content: str, file) -> None:
    assert read_subtitles(file(content)) == Subtitles(str(file(content)), LINES)


@pytest.mark.parametrize(
    ("encoding", "warned"), [("utf-8-sig", 0), ("utf-16", 0), ("cp1252", 1), ("latin-1", 1)]
)
def test_encodings(encoding: str, warned: int, file) -> None:
    found = read_subtitles(file(SRT.replace("Hello", "Café").encode(encoding)))
    assert found.lines[0].text == "Café there"
    assert [("were read as Latin-1" in warning) for warning in found.warnings] == [True] * warned


DIALOGUE = "Dialogue: 0,0:00:00.50,0:00:01.00,Default,,0,0,0,,"
HEAD = "1\n00:00:00,500 --> 00:00:01,000\n"


HOSTILE = {
    "long": f"{HEAD}{'a' * 20_000_000}\n",
    "open": ASS + DIALOGUE + "{\\p1" * 80_000 + "\n",
    "one brace": ASS + DIALOGUE + "{" + "\\p1" * 20_000 + "\n",
    "drawings": ASS + DIALOGUE + "{\\p1}" * 12_000 + "\n",
    "tags": HEAD + "<a" * 30_000 + "\n",
    "braces": HEAD + "{\\" * 30_000 + "\n",
    "attributes": HEAD + "<b" + " x=1" * 15_000 + "\n",
    "spaces": HEAD + "<b" + " " * 60_000 + "\n",
    "quotes": HEAD + "<b x='" * 10_000 + "\n",
    "classes": HEAD + "<i" + ".a" * 30_000 + "\n",
    "voices": "WEBVTT\n\n00:00.500 --> 00:01.000\n" + "<v a" * 15_000 + "\n",
    "controls": (HEAD + "\x9b" * 60_000 + "\n\n") * 10,
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_lines_take_no_time(kind: str, file) -> None:
    path, began = file(HOSTILE[kind]), time.process_time()
    with contextlib.suppress(UsageError):
        read_subtitles(path)
    assert time.process_time() - began < 2


def test_a_line_that_is_too_long_is_left_out_and_said(file) -> None:
    found = read_subtitles(file(f"{SRT}\n3\n00:00:02,000 --> 00:00:03,000\n{'a' * 70_000}\n"))
    assert found.lines == LINES
    assert [w.split(" of ")[0] for w in found.warnings] == ["1 line"]
    assert found.warnings[0].endswith(" with more than 64 KiB is left out")


# Text, and what is left of it in SubRip and in WebVTT.
TEXTS = [
    ("a<b and c>d", "a<b and c>d"),
    ("if a<c or b>c", "if a<c or b>c"),
    ("x < 3 <3 and 1<2>3", "x < 3 <3 and 1<2>3"),
    ("<laughs> <Tom@x.org> <https://x.org>", "<laughs> <Tom@x.org> <https://x.org>"),
    ("i<i.e. this>j and <image>", "i<i.e. this>j and <image>"),
    ("</b >a<B>b</B> <I>c</i>", "ab c"),
    ('<font color="#fff" size=".72c">a</font> <font color=red>b</font>', "a b"),
    ("a<br>b<br/>c<BR />d", "a b c d"),
    ("<ruby>a<rt>b</rt></ruby> <span class='x y'>c</span>", "ab c"),
    ("a<00:00:00.600><c> b</c><c.red.big> c</c>", "a b c"),
    ("<i>un<b", "un<b"),
    ("{laughs} {\\an8}top", "{laughs} top"),
    (
        "\u202b\u05e9\u05dc\u05d5\u05dd\u202c \u0645\u200c\u0631",
        "\u05e9\u05dc\u05d5\u05dd \u0645\u200c\u0631",
    ),
]


@pytest.mark.parametrize("kind", ["srt", "vtt"])
def test_only_real_tags_are_removed(kind: str, file) -> None:
    head = "WEBVTT\n\n" if kind == "vtt" else ""
    cues = (
        f"{at + 1}\n00:00:{at:02}.000 --> 00:00:{at + 1:02}.000\n{text}\n\n"
        for at, (text, _) in enumerate(TEXTS)
    )
    found = read_subtitles(file(head + "".join(cues)))
    assert [line.text for line in found.lines] == [plain for _, plain in TEXTS]


def test_what_only_webvtt_means_as_tags(file) -> None:
    cue = "00:00.000 --> 00:01.000\n<v.loud Mary Ann>A &lt;b&gt; &amp;<lang en> B</lang></v>\n"
    assert read_subtitles(file(f"WEBVTT\n\n{cue}")).lines[0].text == "A <b> & B"
    srt = read_subtitles(file("1\n00:00:00,000 --> 00:00:01,000\nA &amp; B <v and w>\n"))
    assert srt.lines[0].text == "A &amp; B <v and w>"


def with_line(clip: Path, path: Path, codec: str, content: bytes, length_ms: int) -> Path:
    """A copy of a video with one subtitle from 0.4 s on, its index in front."""
    index_first = {"movflags": "faststart"} if path.suffix == ".mp4" else {}
    with av.open(str(clip)) as source, av.open(str(path), "w", options=index_first) as out:
        write_video = remuxed(source, out)
        stream = out.add_stream(codec)
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        stream.codec_context.subtitle_header = ASS.encode()
        stream.codec_context.open()
        line = av.Packet(content)
        line.pts = line.dts = 400
        line.duration, line.time_base, line.stream = length_ms, Fraction(1, 1000), stream
        out.mux(line)
        write_video()
    return path


@pytest.mark.parametrize("codec", ["srt", "webvtt", "ass", "mov_text", "text"])
def test_text_in_a_container_is_whole(codec: str, make_clip: MakeClip, tmp_path: Path) -> None:
    content = "a<b and c>d e \u202bf\u202c".encode()
    if codec == "ass":
        content = "0,0,Default,,0,0,0,,a<b and c>d {\\i1}e{\\i0} \u202bf\u202c".encode()
    if codec == "mov_text":
        content = len(content).to_bytes(2, "big") + content
    path = tmp_path / ("v.mp4" if codec == "mov_text" else "v.mkv")
    with_line(make_clip(Recipe()).path, path, codec, content, 900)
    found = read(path, Sampling(frames=50), subtitles=SubtitleSource(None)).subtitles
    assert found.lines == (Line(0.4, 1.3, "a<b and c>d e f"),)


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("a{\\p1}m 0 0{\\p0}b", "ab"),
        ("a{\\p1}m 0 0{\\i1}l 1 1{\\p0\\i0}b", "ab"),
        ("a{\\p2}m 0 0 l 1 1", "a"),
        ("a{\\pos(1,2)}b{\\p1\\p0}c", "abc"),
        ("a{\\p0\\p4}m 0 0", "a"),
    ],
)
def test_drawings_are_no_text(text: str, plain: str, file) -> None:
    found = read_subtitles(file(ASS.split("Dialogue")[0] + f"{DIALOGUE}{text}\n"))
    assert [line.text for line in found.lines] == [plain]


def test_controls_are_shown_and_nothing_is_lost_behind_them(file) -> None:
    text = SRT.replace("Hello", "a\0b\x1b[2Jc\u202ed\x9be\u200ff {laughs}")
    found = read_subtitles(file(text))
    assert found.lines[0].text == "a\\x00b\\x1b[2Jcd\\x9be\u200ff {laughs} there"
    assert found.lines[1:] == LINES[1:]
    assert read_subtitles(file(SRT, "a\x1b[2J.srt")).source.endswith("a\\x1b[2J.srt")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "it is no SubRip, WebVTT or ASS file"),
        ("anything\nelse", "it is no SubRip, WebVTT or ASS file"),
        ("#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", "it is no SubRip, WebVTT or ASS file"),
        ("WEBVTT\n\n", "have no line of text"),
        ("1\n00:00:01,000 --> 00:00:02,000\n<i></i>\n", "have no line of text"),
    ],
)
def test_what_is_refused(content: str, sentence: str, file) -> None:
    with pytest.raises(UsageError, match=sentence):
        read_subtitles(file(content))


def test_a_video_a_pipe_and_a_folder_are_refused(make_clip: MakeClip, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="it is no SubRip"):
        read_subtitles(make_clip(Recipe()).path)
    os.mkfifo(tmp_path / "pipe")
    why = {"": "Is a directory", "pipe": "Not a regular file", "missing": "No such file"}
    for name, reason in why.items():
        with pytest.raises(UsageError, match=rf"can't be read \({reason}"):
            read_subtitles(tmp_path / name)


def test_a_huge_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "huge.srt").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(UsageError, match="Larger than 64 MiB"):
        read_subtitles(tmp_path / "huge.srt")


def test_lines_that_end_before_they_begin_are_never_shown(file) -> None:
    found = read_subtitles(file(SRT.replace("00:00:01,500", "00:00:00,100")))
    assert not found.warnings
    assert found.at((0.5, 0.9)).lines == LINES[:1]


@pytest.mark.parametrize(
    "times", [(0.0,), (0.5,), (0.999,), (1.0,), (1.5,), (0.0, 0.95, 2.0), (0, 2)]
)
def test_a_line_belongs_to_the_frames_at_which_it_is_shown(times: Sequence[float]) -> None:
    """From its start on, and no longer at its end."""
    found = Subtitles("a.srt", LINES).at(times)
    shown = [line for line in LINES if any(line.start_s <= time < line.end_s for time in times)]
    assert list(found.lines) == shown
    assert found.warnings == (() if shown else ("no line of a.srt is shown at a sampled frame",))


def test_what_stands_in_a_prompt() -> None:
    some = Subtitles("a.srt", LINES)
    assert some.text == f"{HEADER}\nHello there\nTwo lines - second & third, x < 3 <3\n"
    assert some.at((7.0,)).text == ""


def test_auto_looks_beside_the_video_first(make_clip: MakeClip, tmp_path: Path) -> None:
    video = muxed(make_clip(Recipe()).path, tmp_path / "v.mkv", SRT.replace("Hello", "Within"))
    none = find_source(str(video), AUTO)
    assert none == SubtitleSource(None)
    assert read(video, subtitles=none).subtitles.lines[0].text == "Within there"
    # What a command wrote isn't found, wherever it is by now, until somebody changes it.
    path = tmp_path / "v.vtt"
    assert all(write_made(path, content.encode()) for content in (VTT, SRT))
    moved = shutil.copytree(tmp_path, tmp_path / "moved")
    assert {find_source(str(one / "v.mkv"), AUTO) for one in (tmp_path, moved)} == {none}
    assert find_source(str(video), str(path)).path == str(path)
    path.write_text(f"{VTT}\n")
    assert find_source(str(video), AUTO).path == str(path)
    (tmp_path / "v.SRT").write_text(SRT)
    found = find_source(str(video), AUTO)
    assert found.path == str(tmp_path / "v.SRT")
    assert read(video, subtitles=found).subtitles.source == str(tmp_path / "v.SRT")


def test_the_default_stream_is_read(make_clip: MakeClip, tmp_path: Path) -> None:
    german = SRT.replace("Hello", "Hallo")
    clip = make_clip(Recipe()).path
    for default, first in ((0, "Hello there"), (1, "Hallo there"), (9, "Hello there")):
        video = muxed(clip, tmp_path / f"{default}.mkv", SRT, german, default=default)
        found = read(video, subtitles=SubtitleSource(None)).subtitles
        assert [line.text for line in found.lines] == [first, LINES[1].text]
        assert found.source.startswith("stream ")


@pytest.mark.parametrize("start", [0, 2])
def test_times_of_a_stream_count_from_the_first_frame(
    start: int, make_clip: MakeClip, tmp_path: Path
) -> None:
    """A video that starts at 2 s of its file's clock has its lines there as well."""
    late = SRT.replace("00:00:01", f"00:00:0{start + 1}").replace("00:00:00", f"00:00:0{start}")
    video = muxed(make_clip(Recipe()).path, tmp_path / "v.mkv", late, start=start)
    clip = read(video, Sampling(frames=50), subtitles=SubtitleSource(None))
    assert [line.text for line in clip.subtitles.lines] == [line.text for line in LINES]
    assert [line.start_s for line in clip.subtitles.lines] == pytest.approx([0.5, 0.9])


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_one_zero_point_for_a_file_and_a_stream(
    suffix: str, make_clip: MakeClip, tmp_path: Path
) -> None:
    """The picture begins 2.5 s after the sound: lines begin as many seconds before it."""
    cues = (f"{at + 1}\n00:00:0{at},100 --> 00:00:0{at},900\nline {at}\n\n" for at in range(6))
    text = "".join(cues)
    (tmp_path / "beside.srt").write_text(text)
    clip, path = make_clip(Recipe()).path, tmp_path / f"v{suffix}"
    beside, within = SubtitleSource(str(tmp_path / "beside.srt")), SubtitleSource(None)
    streams = [text] if suffix == ".mkv" else []
    muxed(clip, path, *streams, start=Fraction(5, 2), sound=True)
    for source in [beside, *[within] * len(streams)]:
        one = read(path, Sampling(frames=50), subtitles=source)
        assert one.info.start_s == 2.5
        assert one.timestamps_s[0] == 0
        # From 2.5 to 4.5 s of the file.
        assert [line.text for line in one.subtitles.lines] == ["line 2", "line 3", "line 4"]
        assert [line.start_s for line in one.subtitles.lines] == pytest.approx([-0.4, 0.6, 1.6])
        assert not one.warnings
    early = read(clip, Sampling(frames=50), subtitles=beside)
    assert [line.start_s for line in early.subtitles.lines] == [0.1, 1.1]


@pytest.mark.parametrize("title", [None, "Forced", "English (forced)"])
def test_a_forced_stream_comes_last(title: str | None, make_clip: MakeClip, tmp_path: Path) -> None:
    clip = make_clip(Recipe()).path
    forced, whole = SRT.replace("Hello", "Forced"), SRT.replace("Hello", "Whole")
    path = tmp_path / "v.mkv"
    muxed(clip, path, forced, whole, forced=0 if title is None else None, title=title)
    assert read(path, subtitles=SubtitleSource(None)).subtitles.lines[0].text == "Whole there"
    only = muxed(clip, tmp_path / "only.mkv", forced, forced=0)
    assert read(only, subtitles=SubtitleSource(None)).subtitles.lines[0].text == "Forced there"


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_a_line_that_outlasts_the_picture_cuts_nothing_off(
    suffix: str, make_clip: MakeClip, tmp_path: Path
) -> None:
    """2 s of video and a longer line; a file that really is cut off is still noticed."""
    path, clip = tmp_path / f"v{suffix}", make_clip(Recipe()).path
    codec, text = ("srt", b"Hello") if suffix == ".mkv" else ("mov_text", b"\0\5Hello")
    found = read(with_line(clip, path, codec, text, 2400), Sampling(frames=2))
    assert found.warnings == ()
    assert found.info.duration_s == pytest.approx(2.0)
    content = with_line(clip, path, codec, text, 400).read_bytes()
    packets = max(content.find(b"mdat"), 0)
    path.write_bytes(content[: packets + (len(content) - packets) * 2 // 3])
    assert any("s of 2.0 s: it is cut off" in one for one in read(path).warnings)


@pytest.mark.parametrize(
    ("sampling", "texts"),
    [
        (Sampling(frames=50), (0, 1)),
        (Sampling(frames=50, end_s=0.5), ()),
        (Sampling(frames=50, end_s=0.6), (0,)),
        (Sampling(frames=50, start_s=1.0), (1,)),
        (Sampling(frames=2), ()),  # at 0 and 1.96 s
        (Sampling(frames=3), (0, 1)),  # at 0.96 s, too
        (Sampling(frames=1, start_s=0.4, end_s=0.8), (0,)),
    ],
)
@pytest.mark.parametrize("embedded", [False, True])
def test_only_lines_at_sampled_frames(
    sampling: Sampling, texts: Sequence[int], embedded: bool, make_clip: MakeClip, tmp_path: Path
) -> None:
    """50 frames, one each 0.04 s."""
    (tmp_path / "s.srt").write_text(SRT)
    video = muxed(make_clip(Recipe()).path, tmp_path / "v.mkv", SRT)
    source = SubtitleSource(None if embedded else str(tmp_path / "s.srt"))
    found = read(video, sampling, subtitles=source)
    assert [line.text for line in found.subtitles.lines] == [LINES[i].text for i in texts]
    assert any("at a sampled frame" in warning for warning in found.warnings) is not bool(texts)


def check_none_can_be_read(video: Path, sentence: str, warning: str) -> None:
    """Refused where they are required, and otherwise warned of."""
    with pytest.raises(UsageError, match=rf"{sentence}.*leave out --sub"):
        read(video, subtitles=SubtitleSource(None))
    clip = read(video, subtitles=SubtitleSource(None, required=False))
    assert clip.subtitles is None
    assert warning in clip.warnings[0]


def test_pictures_of_text_are_refused_or_warned_of(make_clip: MakeClip, tmp_path: Path) -> None:
    video = muxed(make_clip(Recipe()).path, tmp_path / "v.mkv", SRT)
    content = video.read_bytes()
    assert content.count(b"S_TEXT/UTF8") == 1
    video.write_bytes(content.replace(b"S_TEXT/UTF8", b"S_HDMV/PGS\0"))
    sentence = r"pictures or have no decoder \(pgssub\)"
    check_none_can_be_read(video, sentence, "answered without them")


def test_a_video_without_any_is_refused_or_warned_of(make_clip: MakeClip) -> None:
    video = make_clip(Recipe()).path
    warning = "no subtitle stream in it; answered without them"
    check_none_can_be_read(video, "has no subtitles: no file of its name ", warning)
    assert read(video).warnings == ()


def test_a_file_that_is_named_must_be_there(tmp_path: Path) -> None:
    for wanted in (str(tmp_path / "missing.srt"), str(tmp_path), ""):
        with pytest.raises(UsageError, match="isn't a file: check the spelling"):
            find_source("video.mp4", wanted)
    assert find_source("-", AUTO) == SubtitleSource(None)
    with pytest.raises(UsageError, match="srt is an address, not a file: download it first"):
        find_source("video.mp4", "https://example.org/a.srt")
    pointer = tmp_path / "pointer.srt"
    pointer.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 9\n")
    with pytest.raises(UsageError, match=r"pointer.srt is only a Git LFS pointer"):
        read_subtitles(pointer)


def test_real_footage(real_video: Callable[[str], Path]) -> None:
    """Scenes with speech: WebVTT beside one, text streams in the other."""
    friday = str(real_video("friday.mp4"))
    spoken = read(friday, Sampling(fps=4), subtitles=find_source(friday, AUTO)).subtitles
    assert [line.text for line in spoken.lines] == [
        "Hildy!",
        "How are you?",
        "Tell me, is the lord of the universe in?",
        "Yes, he's in - in a bad humor",
        "Somebody must've stolen the crown jewels",
    ]
    nasa = read(real_video("nasa.mp4"), Sampling(start_s=9), subtitles=SubtitleSource(None))
    assert nasa.subtitles.source.startswith("stream 2 of")
    assert [line.text[:12] for line in nasa.subtitles.lines] == ["at NASA’s Go", "This half of"]
