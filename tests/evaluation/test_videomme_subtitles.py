"""VideoMME's subtitles by lmms-eval's rule, on cases that were worked out by hand."""

from __future__ import annotations

from pathlib import Path

import av
import pytest

from dycoke_cli.evaluation.datasets.published import lines_at, videomme_subtitles

CLIP = Path(__file__).parents[2] / "sample_videos" / "move.mp4"  # 4 s


def cue(
    number: int, start: str, end: str, text: str, tag: str = 'color="white" size=".72c"'
) -> str:
    return f"{number}\n00:00:{start} --> 00:00:{end}\n<font {tag}>{text}</font>\n"


def test_lines_of_evenly_spaced_frames() -> None:
    """100 frames at 10 per second; 4 of them are 0, 33, 66 and 99, which is 9.9 s."""
    content = "\n".join(
        [
            cue(1, "00,000", "00,100", "frame 0 alone"),
            cue(2, "00,100", "03,300", "frames 1 to 32"),
            cue(3, "03,399", "03,450", "from frame 33 on, up to 34"),
            cue(4, "06,600", "06,699", "ends in the frame in which it begins"),
            cue(5, "06,500", "06,700", "frames 65 and 66"),
            cue(6, "09,899", "09,950", "frame 98"),
            cue(7, "09,900", "10,000", "frame 99, the last"),
        ]
    )
    assert lines_at(content, 10.0, 100, 4) == [
        "frame 0 alone",
        "from frame 33 on, up to 34",
        "frames 65 and 66",
        "frame 99, the last",
    ]


def test_only_the_first_text_inside_that_font_tag_counts() -> None:
    content = "\n".join(
        [
            cue(1, "00,000", "09,000", 'one</font> between <font color="white" size=".72c">two'),
            cue(2, "00,000", "08,000", "another colour", 'color="red" size=".72c"'),
            "3\n00:00:00,000 --> 00:00:07,000\nno tag\n",
            cue(4, "00,000", "06,000", "over\ntwo lines"),
            cue(5, "00,000", "05,000", "replaced"),
            cue(6, "00,000", "05,000", "by the same times"),
            "7\n00:00:00,000 --> 00:00:04,000",
        ]
    )
    assert lines_at(content, 10.0, 100) == ["one", "over two lines", "by the same times"]


def test_of_a_real_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the model is shown: 32 frames of 4 s are closer than 0.13 s.

    The video is opened in the decoder's process alone.
    """
    monkeypatch.setattr(av, "open", None)
    path = tmp_path / "v.srt"
    assert videomme_subtitles(path, CLIP) == "No subtitles available"
    path.write_text("")
    assert videomme_subtitles(path, CLIP) == ""
    path.write_text(
        cue(1, "00,000", "00,200", "a")
        + "\n"
        + cue(2, "03,700", "09,000", "b")
        + "\n"
        + cue(3, "04,200", "09,000", "behind the end")
    )
    assert videomme_subtitles(path, CLIP) == "a\nb"
