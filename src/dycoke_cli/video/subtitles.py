"""Subtitles of a video, as a file beside it has them (SubRip)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from dycoke_cli.errors import UsageError
from dycoke_cli.unicode import display_name

_CLOCK = r"(\d+):(\d{1,2}):(\d{1,2})[,.](\d{1,3})"
_TIMES = re.compile(rf"^[ \t]*{_CLOCK}[ \t]*-->[ \t]*{_CLOCK}.*$", re.MULTILINE)
# The number of the next one stands at the end of a text.
_NUMBER = re.compile(r"\n[ \t]*\d+[ \t]*\Z")


@dataclass(frozen=True)
class Subtitle:
    """What is said for a while.

    Args:
        start_s: when it appears, in seconds.
        end_s: when it is gone.
        text: on one line, with its markup.
    """

    start_s: float
    end_s: float
    text: str


def read_srt(path: Path) -> list[Subtitle]:
    """The subtitles of a SubRip file, in its order; those without text are left out.

    Raises:
        UsageError: the file can't be read, or holds something else.
    """
    try:
        content = path.read_bytes().decode("utf-8-sig", errors="replace")
    except OSError as error:
        raise UsageError(f"{display_name(path)} can't be read ({error.strerror})") from error
    content = content.replace("\r\n", "\n").replace("\r", "\n")
    times = list(_TIMES.finditer(content))
    if not times and content.strip():
        raise UsageError(
            f"{display_name(path)} isn't SubRip (.srt): there is no line with times in it"
        )
    ends = [*(match.start() for match in times[1:]), len(content)]
    subtitles = []
    for i, (match, end) in enumerate(zip(times, ends, strict=False)):
        text = content[match.end() : end].rstrip("\n")
        if i + 1 < len(times):
            text = _NUMBER.sub("", text)
        text = " ".join(line.strip() for line in text.split("\n") if line.strip())
        if text:
            clock = match.groups()
            subtitles.append(Subtitle(_seconds(*clock[:4]), _seconds(*clock[4:]), text))
    return subtitles


def _seconds(hours: str, minutes: str, seconds: str, fraction: str) -> float:
    return int(hours) * 3600 + int(minutes) * 60 + int(seconds) + int(fraction.ljust(3, "0")) / 1000
