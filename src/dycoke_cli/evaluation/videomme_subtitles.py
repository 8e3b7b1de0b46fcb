"""Subtitles of Video-MME prompts by the rule of lmms-eval.

The lines are those at 32 evenly spaced frames of the video, independently of the frames that the
model gets. `--subtitles` has another rule, lines at the sampled frames:
`read_subtitles(file).at(times).text` (`video/subtitles.py`).
"""

from __future__ import annotations

import os
import re

import numpy as np

from dycoke_cli.errors import UsageError, VideoError
from dycoke_cli.storage.input_file import read_text
from dycoke_cli.unicode import display_name
from dycoke_cli.video import Decoder, Sampling

NONE = "No subtitles available"
"""Text in the prompt of a video without a subtitle file."""
FRAMES = 32
# Only the first text in this tag counts, as in lmms-eval.
_TEXT = re.compile(r'<font color="white" size="\.72c">(.*?)</font>')
_TIMES = re.compile(r"(\d+):(\d+):(\d+),(\d+) --> (\d+):(\d+):(\d+),(\d+)")


def videomme_subtitles(
    subtitles: str | os.PathLike[str], video: str | os.PathLike[str], frames: int = FRAMES
) -> str:
    """Subtitle text of a Video-MME prompt: lines of text, or `NONE`."""
    if not os.path.isfile(subtitles):
        return NONE
    try:
        content = re.sub("\r\n?", "\n", read_text(subtitles))  # as Python opens text files
        return "\n".join(lines_at(content, *_rate_and_count(video), frames))
    except OSError as error:
        reason = error.strerror
    except ValueError as error:
        reason = str(error)
    raise UsageError(f"the subtitles {display_name(subtitles)} can't be read ({reason})")


def lines_at(content: str, fps: float, count: int, frames: int = FRAMES) -> list[str]:
    """Text of the lines at evenly spaced frames, without repetition.

    A line covers the frame at its start up to, but not including, the frame at its end. Of two
    lines with the same times the later one counts. The order is the one in which Python iterates a
    set of line numbers, as in lmms-eval: chronological, except sometimes for many lines.
    """
    texts: dict[tuple[float, float], str] = {}
    for section in content.split("\n\n"):
        number_times_text = section.split("\n") if section.strip() else []
        if len(number_times_text) < 3:
            continue
        match = _TIMES.match(number_times_text[1])
        if match is None:
            raise ValueError(f"no times in {number_times_text[1][:60]!r}")
        h, m, s, ms, to_h, to_m, to_s, to_ms = map(int, match.groups())
        times = 3600 * h + 60 * m + s + ms / 1000, 3600 * to_h + 60 * to_m + to_s + to_ms / 1000
        texts[times] = " ".join(number_times_text[2:])
    sampled = np.linspace(0, count - 1, frames, dtype=int).tolist()
    # Iterating over this set gives the order of lmms-eval; sorting it would change prompts.
    shown = {
        number
        for frame in sampled
        for number, (start, end) in enumerate(texts)
        if int(start * fps) <= frame < int(end * fps)
    }
    lines = list(texts.values())
    matches = (_TEXT.search(lines[number]) for number in shown)
    return [match[1] for match in matches if match]


def _rate_and_count(video: str | os.PathLike[str]) -> tuple[float, int]:
    """Frame rate and number of frames, computed like OpenCV, which lmms-eval uses.

    Read by a sandboxed process: a benchmark's files are downloaded, too.
    """
    with Decoder() as decoder, decoder.open(os.fspath(video), Sampling(frames=1)) as opened:
        info = opened.plan.info
    if info.fps is None or (info.frame_count is None and info.duration_s is None):
        raise VideoError(f"{info.path} doesn't say how many frames it has: convert it to MP4")
    return info.fps, info.frame_count or int(info.fps * (info.duration_s or 0) + 0.5)
