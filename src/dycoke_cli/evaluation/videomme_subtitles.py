"""Subtitles of VideoMME by the rule of lmms-eval, which isn't that of `--subtitles`.

Which lines there are depends on the video's length alone: those at 32 evenly spaced frames, however
many the model is shown. By the rule of `--subtitles`, of the frames that it is shown, they are
`read_subtitles(file).at(times).text` (`video/subtitles.py`).
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np

from dycoke_cli.errors import UsageError, VideoError
from dycoke_cli.unicode import display_name

NONE = "No subtitles available"
"""What stands in the prompt of a video that has no file of subtitles."""
FRAMES = 32
# Only what a line has between these counts, and only the first of them.
_TEXT = re.compile(r'<font color="white" size="\.72c">(.*?)</font>')
_TIMES = re.compile(r"(\d+):(\d+):(\d+),(\d+) --> (\d+):(\d+):(\d+),(\d+)")


def videomme_subtitles(
    subtitles: str | os.PathLike[str], video: str | os.PathLike[str], frames: int = FRAMES
) -> str:
    """What VideoMME's prompt with subtitles has of them: lines of text, or `NONE`.

    Args:
        subtitles: the video's file in SubRip, which needn't be there.
        video: the file; its rate and number of frames are what counts.
        frames: how many, evenly spaced from the first to the last, say which lines are shown.

    Raises:
        UsageError: the subtitles aren't UTF-8 text in SubRip.
        VideoError: the video can't be read, or doesn't say how long it is.
    """
    if not os.path.isfile(subtitles):
        return NONE
    try:
        content = Path(subtitles).read_text(encoding="utf-8")
        return "\n".join(lines_at(content, *_rate_and_count(video), frames))
    except OSError as error:
        reason = error.strerror
    except ValueError as error:
        reason = str(error)
    raise UsageError(f"the subtitles {display_name(subtitles)} can't be read ({reason})")


def lines_at(content: str, fps: float, count: int, frames: int = FRAMES) -> list[str]:
    """The text of the lines that are shown at evenly spaced frames, each once.

    A line is shown from the frame that is current at its start to the one before that of its end.
    Of two lines with the same times the later one counts. The order is that in which Python
    iterates a set of their numbers: that of time, but not always where there are many.

    Args:
        content: in SubRip.
        fps: frames per second of the video.
        count: its number of frames.
        frames: how many of them are looked at.

    Raises:
        ValueError: a section of several lines has no times in its second.
    """
    texts: dict[tuple[float, float], str] = {}
    for section in content.split("\n\n"):
        number_times_text = section.split("\n") if section.strip() else []
        if len(number_times_text) < 3:
            continue
        found = _TIMES.match(number_times_text[1])
        if found is None:
            raise ValueError(f"no times in {number_times_text[1][:60]!r}")
        h, m, s, ms, to_h, to_m, to_s, to_ms = map(int, found.groups())
        times = 3600 * h + 60 * m + s + ms / 1000, 3600 * to_h + 60 * to_m + to_s + to_ms / 1000
        texts[times] = " ".join(number_times_text[2:])
    looked_at = np.linspace(0, count - 1, frames, dtype=int).tolist()
    shown = {
        number
        for frame in looked_at
        for number, (start, end) in enumerate(texts)
        if int(start * fps) <= frame < int(end * fps)
    }
    lines = list(texts.values())
    found_texts = (_TEXT.search(lines[number]) for number in shown)
    return [found[1] for found in found_texts if found]


def _rate_and_count(video: str | os.PathLike[str]) -> tuple[float, int]:
    """Frames per second and number of frames, as OpenCV tells them of a file."""
    import av

    from dycoke_cli.video.source import open_video

    with open_video(video) as source:
        stream, duration = source.stream, source.container.duration
        rate = stream.guessed_rate or stream.average_rate
        if not rate or not (stream.frames or duration):
            raise VideoError(f"{source.name} doesn't say how many frames it has: convert it to MP4")
        count = stream.frames or int(float(rate) * (duration or 0) / av.time_base + 0.5)
        return float(rate), count
