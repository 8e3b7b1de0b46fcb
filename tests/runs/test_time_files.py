"""Files of times are read back by other programs: FFmpeg (PyAV), Python's csv."""

from __future__ import annotations

import csv
import io
import unicodedata
from fractions import Fraction
from typing import Any

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dycoke_cli.runs import output_formats
from dycoke_cli.runs.time_files import MarkedVideo, Marker, markers_csv, markers_of, timed_fields
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
    known = {"fps": 25.0, "lead_s": 0.0, "duration_s": 60.0} | known
    return example(VideoInfo, path="clip.mp4", **known)


def marked(markers: list[Marker], **known: Any) -> MarkedVideo:
    return MarkedVideo("clips/clip.mp4", markers, info(**known))


def plain(text: str) -> str:
    return " ".join(text.replace("-->", "→").split())


@pytest.mark.parametrize("kind", ["srt", "vtt"])
@settings(QUICK)
@given(markers=MARKERS, lead=st.sampled_from([0.0, 0.7]))
def test_ffmpeg_reads_the_subtitles(kind: str, markers: list[Marker], lead: float) -> None:
    content = output_formats.maker(f".{kind}")([marked(markers, lead_s=lead)])
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
@given(markers=MARKERS)
def test_the_table_is_read_by_csv(markers: list[Marker]) -> None:
    content = markers_csv([marked(markers)])
    rows = [*csv.DictReader(io.StringIO(content))]
    assert [(float(row["start"]), float(row["end"])) for row in rows] == [
        (marker.start_s, marker.end_s) for marker in markers
    ]


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
    doubted = part(0, 5, "yes", "A dog?", **YES_NO, scoring={"mass": 0.4})
    assert markers_of([doubted]) == []
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
