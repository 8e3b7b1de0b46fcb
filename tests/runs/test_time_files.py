"""Files of times are read back by other programs: FFmpeg (PyAV), OpenTimelineIO, Python's csv."""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from typing import Any

import av
import opentimelineio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dycoke_cli.errors import UsageError
from dycoke_cli.runs import time_files
from dycoke_cli.runs.time_files import MarkedVideo, Marker, markers_of, timed_fields
from dycoke_cli.video.clip import VideoInfo
from tests.documents import example
from tests.properties import QUICK

# Any text that a model may say, with what has a meaning in a format.
PARTS = ["a dog", "=", ";", "#", "\\", "|", "-->", "<b>", "&", "\n", "\n\n", "é", "12", '"', ","]
PARTS += [r"{\an8}", r"C:\New", "x" * 120]
TEXTS = st.lists(st.sampled_from(PARTS), min_size=1, max_size=8).map(" ".join).filter(str.strip)
MARKERS = st.lists(
    st.tuples(st.integers(0, 10_000_000), st.integers(100, 600_000), TEXTS), min_size=1, max_size=8
).map(lambda found: placed(found))


def placed(found: list[tuple[int, int, str]]) -> list[Marker]:
    """Markers one behind the other: of gaps, lengths (in ms) and texts."""
    markers, at = [], 0
    for gap, length, text in found:
        start, at = at + gap, at + gap + length
        markers.append(Marker(start / 1000, at / 1000, text, "What?", text))
    return markers


def info(**known: Any) -> VideoInfo:
    known = {"fps": 25.0, "timecode": None, "lead_s": 0.0, "duration_s": 60.0} | known
    return example(VideoInfo, path="clip.mp4", **known)


def marked(markers: list[Marker], **known: Any) -> MarkedVideo:
    return MarkedVideo("clips/clip.mp4", markers, info(**known))


def plain(text: str) -> str:
    return " ".join(text.replace("-->", "→").split())


@pytest.mark.parametrize("kind", ["srt", "vtt"])
@settings(QUICK)
@given(markers=MARKERS, lead=st.sampled_from([0.0, 0.7]))
def test_ffmpeg_reads_the_subtitles(kind: str, markers: list[Marker], lead: float) -> None:
    content = time_files.FORMATS[f".{kind}"]([marked(markers, lead_s=lead)])
    name = {"srt": "srt", "vtt": "webvtt"}[kind]
    with av.open(io.BytesIO(content.encode()), format=name) as container:
        packets = [packet for packet in container.demux() if packet.pts is not None]
    assert len(packets) == len(markers)
    for packet, marker in zip(packets, markers, strict=True):
        assert packet.time_base == Fraction(1, 1000)
        assert packet.pts == round((marker.start_s + lead) * 1000)
        assert packet.duration == round((marker.end_s - marker.start_s) * 1000)
        text = bytes(packet).decode()
        if kind == "vtt":
            text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
        else:  # nothing that a player takes for a style, but its full-width form
            assert not {*text} & {*"<>{}\\"}
            text = unicodedata.normalize("NFKC", text)
        assert plain(text) == plain(marker.text)


@settings(QUICK)
@given(markers=MARKERS, lead=st.sampled_from([0.0, 0.7]))
def test_ffmpeg_reads_the_chapters(markers: list[Marker], lead: float) -> None:
    content = time_files.ffmeta([marked(markers, lead_s=lead)])
    with av.open(io.BytesIO(content.encode()), format="ffmetadata") as container:
        found = container.chapters()
    assert [one["metadata"]["title"].rstrip(" ") for one in found] == [
        " ".join(marker.text.split()) for marker in markers
    ]
    times = [(one["start"], one["end"]) for one in found]
    assert {one["time_base"] for one in found} == {Fraction(1, 1000)}
    expected = [(round((m.start_s + lead) * 1000), round((m.end_s + lead) * 1000)) for m in markers]
    assert times == expected


@pytest.mark.parametrize(
    ("fps", "start"),
    [
        (25.0, None),
        (25.0, "10:00:00:00"),
        (29.97, "01:02:03;04"),
        (59.94, "00:59:59;58"),
        (23.976, "01:00:00:00"),
    ],
)
@settings(QUICK, max_examples=30)
@given(markers=MARKERS)
def test_another_library_reads_the_edl(
    fps: float, start: str | None, markers: list[Marker]
) -> None:
    video = marked(markers, fps=fps, timecode=start)
    content = time_files.edl([video])
    rate = float(video.timecode.rate)
    timeline = opentimelineio.adapters.read_from_string(content, "cmx_3600", rate=rate)
    clips = timeline.find_clips()
    assert len(clips) == len(markers)
    first = opentimelineio.opentime.from_timecode(start or "00:00:00:00", rate)
    hour = "01:00:00;00" if video.timecode.drop else "01:00:00:00"
    zero = opentimelineio.opentime.from_timecode(hour, rate)
    records = re.findall(r"^\d+ .* C +\S+ \S+ (\S+) (\S+)$", content, re.MULTILINE)
    for clip, marker, record in zip(clips, markers, records, strict=True):
        assert clip.name == "clip.mp4"
        source = clip.source_range.start_time - first
        for seconds in (
            source.to_seconds(),
            # The video begins at hour 1 of the timeline.
            (opentimelineio.opentime.from_timecode(record[0], rate) - zero).to_seconds(),
        ):
            assert seconds == pytest.approx(marker.start_s, abs=0.5001 / fps)
        assert clip.duration().to_seconds() == pytest.approx(
            marker.end_s - marker.start_s, abs=1.001 / fps
        )
        [comment] = clip.metadata["cmx_3600"]["comments"]
        name = " ".join(marker.text.split()).replace("|", "/")
        frames = round(clip.duration().value)
        assert comment == f"|C:ResolveColorBlue |M:{name} |D:{frames}"


@pytest.mark.parametrize("text", ["C:\\ \n", "a = b; #1 \\"])
def test_what_ffmpeg_takes_for_signs_is_escaped(text: str) -> None:
    content = time_files.ffmeta([marked([Marker(0.0, 2.0, text, "What?", text)] * 2)])
    with av.open(io.BytesIO(content.encode()), format="ffmetadata") as container:
        titles = [one["metadata"]["title"].rstrip(" ") for one in container.chapters()]
    assert titles == [text.strip()] * 2


def test_an_edl_needs_the_frame_rate() -> None:
    with pytest.raises(UsageError, match="can't be opened"):
        time_files.edl([replace(marked([Marker(1.0, 2.0, "a", "a", "yes")]), info=None)])


@settings(QUICK)
@given(markers=MARKERS)
def test_the_table_is_read_by_csv(markers: list[Marker]) -> None:
    content = time_files.markers_csv([marked(markers, timecode="10:00:00:00")])
    rows = [*csv.DictReader(io.StringIO(content))]
    assert [(float(row["start"]), float(row["end"])) for row in rows] == [
        (marker.start_s, marker.end_s) for marker in markers
    ]
    for row, marker in zip(rows, markers, strict=True):
        hours, minutes, seconds, frames = map(int, row["timecode.start"].split(":"))
        count = ((hours - 10) * 3600 + minutes * 60 + seconds) + frames / 25
        assert count == pytest.approx(marker.start_s, abs=0.02001)


@settings(QUICK)
@given(markers=MARKERS, rest=st.sampled_from([0, 9.5, 10.5]))
def test_chapters_are_as_sites_want_them(markers: list[Marker], rest: float) -> None:
    end = markers[-1].end_s + rest
    content = time_files.chapters([marked(markers, duration_s=end - 0.5, lead_s=0.5)])
    assert not {*content} & {*"<>"}
    lines = content.splitlines()
    assert max(len(line.partition(" ")[2]) for line in lines) <= 100
    times = []
    for line in lines:
        found = re.fullmatch(r"(?:(\d+):)?(\d{1,2}):(\d\d) (.+)", line)
        assert found, line
        hours, minutes, seconds = (int(part or 0) for part in found.groups()[:3])
        assert seconds < 60
        assert minutes < 60
        times.append(3600 * hours + 60 * minutes + seconds)
    assert times[0] == 0
    assert all(later - earlier >= 10 for earlier, later in pairwise([*times, end]) if earlier)
    # What is far enough from its neighbours isn't lost.
    starts = [int(marker.start_s + 0.5) for marker in markers]
    for before, at in zip([-20, *starts], starts, strict=False):
        if at - before >= 20 and at >= 10 and end - at >= 10:
            assert at in times


def part(
    start: float, end: float, answer: str, question: str = "What?", **more: Any
) -> dict[str, Any]:
    return timed_fields(
        {"start": start, "end": end, "answer": answer, "question": question, **more}
    )


YES_NO = {"probabilities": {"yes": 0.9, "no": 0.1}}


def spans(markers: list[Marker]) -> list[tuple[float, float, str]]:
    return [(one.start_s, one.end_s, one.text) for one in markers]


def test_what_becomes_a_marker() -> None:
    free = [part(0, 5, "a"), part(5, 10, "a"), part(10, 15, "b"), part(20, 25, "b")]
    assert spans(markers_of(free)) == [(0, 10, "a"), (10, 15, "b"), (20, 25, "b")]
    assert spans(markers_of([part(0, 9, "a"), part(3, 5, "a")])) == [(0, 9, "a")]
    yes = [
        part(5 * n, 5 * n + 5, answer, "A dog?", **YES_NO)
        for n, answer in enumerate(("yes", "yes", "no", "yes"))
    ]
    assert spans(markers_of(yes)) == [(0, 10, "A dog?"), (15, 20, "A dog?")]
    choice = [part(0, 5, "no", probabilities={"no": 1, "yes": 0, "maybe": 0})]
    assert spans(markers_of(choice)) == [(0, 5, "no")]
    two = [part(0, 5, "a", "Who?"), part(0, 5, "b", "Where?"), part(5, 9, "a", "Who?")]
    assert spans(markers_of(two)) == [(0, 9, "Who? a"), (0, 5, "Where? b")]
    ranges = timed_fields(
        {"question": "A dog?", "answer": "found", "when": [{"start": 3, "end": 4.5}]}
    )
    assert spans(markers_of([ranges])) == [(3, 4.5, "A dog?")]


def test_what_has_no_time_has_no_marker() -> None:
    failed = {"question": "What?", "error": {"code": "x"}, "start": 0, "end": 1}
    for line in ({"question": "What?", "answer": "a dog"}, failed):
        assert markers_of([timed_fields(line)]) == []
    assert markers_of([part(0, 1, " \n")]) == []
