"""Times as people write them, turned into seconds."""

from __future__ import annotations

import math
import re

from dycoke_cli.errors import UsageError
from dycoke_cli.video.naming import display_name

_TIME = re.compile(r"(?:(?:(\d+):)?(\d+):)?(\d+(?:\.\d*)?|\.\d+)", re.ASCII)
_SHOWN = 60


def parse_time(text: str) -> float:
    """Turn `90`, `1:30` or `00:01:30.500` into seconds.

    The part in front may be as large as it likes (`90:00` is an hour and a half); those behind a
    colon stay below 60.

    Raises:
        UsageError: the text isn't such a time.
    """
    match = _TIME.fullmatch(text.strip())
    if match is None:
        raise _not_a_time(text)
    hours, minutes, seconds = match.groups()
    if minutes is not None and float(seconds) >= 60:
        raise _not_a_time(text)
    if hours is not None and float(minutes) >= 60:
        raise _not_a_time(text)
    # Numbers of any length become a float, if only inf; not so an int.
    time_s = float(hours or 0) * 3600 + float(minutes or 0) * 60 + float(seconds)
    if not math.isfinite(time_s):
        raise _not_a_time(text)
    return time_s


def _not_a_time(text: str) -> UsageError:
    shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
    return UsageError(
        f'"{display_name(shown)}" isn\'t a time: write seconds (90 or 90.5) '
        "or HH:MM:SS.mmm (1:30 or 00:01:30.500)"
    )
