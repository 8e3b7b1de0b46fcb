"""SubRip files as they are found, and which of their lines Video-MME's questions get."""

from __future__ import annotations

from pathlib import Path

import pytest

from dycoke_cli.errors import UsageError
from dycoke_cli.evaluation.datasets.videomme import at_even_frames
from dycoke_cli.video.subtitles import Subtitle, read_srt

USUAL = """\
1
00:00:01,000 --> 00:00:02,500
Hello

2
01:02:03,040 --> 01:02:04,000
two
lines
"""
READ = [Subtitle(1.0, 2.5, "Hello"), Subtitle(3723.04, 3724.0, "two lines")]


@pytest.mark.parametrize(
    "content",
    [
        USUAL,
        USUAL.replace("\n", "\r\n"),
        "\ufeff" + USUAL,
        USUAL.replace(",", "."),
        USUAL.rstrip("\n"),
        USUAL.replace("\n\n", "\n"),  # no empty line between them
        USUAL.replace("\n\n", "\n\n\n"),
        USUAL.replace("2,500", "2,500 X1:10 X2:20"),
        USUAL.replace("1\n00", "00", 1).replace("2\n01", "01", 1),  # without numbers
    ],
    ids=range(9),
)
def test_what_is_read(content: str, tmp_path: Path) -> None:
    path = tmp_path / "x.srt"
    path.write_bytes(content.encode())
    assert read_srt(path) == READ


def test_those_without_text_are_left_out_and_numbers_are_text(tmp_path: Path) -> None:
    path = tmp_path / "x.srt"
    path.write_text(
        "1\n00:00:01,000 --> 00:00:02,000\n\n\n2\n00:00:03,000 --> 00:00:04,000\n42\n\n"
        "3\n00:00:05,000 --> 00:00:06,000\n7\n"
    )
    assert [one.text for one in read_srt(path)] == ["42", "7"]


def test_bytes_that_are_no_text_lose_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "x.srt"
    path.write_bytes(USUAL.replace("Hello", "Caf\xe9").encode("latin-1"))
    assert [one.text for one in read_srt(path)] == ["Caf\ufffd", "two lines"]


def test_an_empty_file_has_none(tmp_path: Path) -> None:
    path = tmp_path / "x.srt"
    path.write_text("\n\n")
    assert read_srt(path) == []


@pytest.mark.parametrize("content", ["WEBVTT\n", "Hello"])
def test_what_is_no_such_file(content: str, tmp_path: Path) -> None:
    path = tmp_path / "x.srt"
    path.write_text(content)
    with pytest.raises(UsageError, match=r"x\.srt isn't SubRip"):
        read_srt(path)
    with pytest.raises(UsageError, match=r"can't be read \(No such file"):
        read_srt(tmp_path / "no.srt")


def tagged(start: float, end: float, text: str) -> Subtitle:
    return Subtitle(start, end, f'<font color="white" size=".72c">{text}</font>')


def test_lines_at_32_even_frames() -> None:
    # 311 frames at 10 per second: every tenth is looked at, 0.0 s, 1.0 s … 31.0 s.
    lines = [
        tagged(0.0, 0.1, "at the first"),
        tagged(0.1, 1.0, "between"),
        tagged(0.95, 1.1, "around the second"),
        tagged(30.9, 31.1, "at the last"),
        tagged(31.1, 40.0, "behind"),
    ]
    assert at_even_frames(lines, 10.0, 311) == ["at the first", "around the second", "at the last"]


def test_each_line_once_and_only_what_is_in_the_tag() -> None:
    lines = [
        Subtitle(0, 31, '[Music] <font color="white" size=".72c">la la</font> (sings)'),
        Subtitle(0, 30, "without a tag"),
        tagged(2, 3, "then"),
    ]
    assert at_even_frames(lines, 10.0, 311) == ["la la", "then"]


def test_a_file_without_any_tag_is_taken_as_it_is() -> None:
    lines = [Subtitle(0, 1, "plain"), Subtitle(1, 2, "text")]
    assert at_even_frames(lines, 10.0, 21) == ["plain", "text"]


def test_a_video_of_one_frame() -> None:
    assert at_even_frames([tagged(0, 1, "x"), tagged(1, 2, "y")], 1.0, 1) == ["x"]
