"""Decoding of videos to RGB frames with their time stamps; independent of models and torch.

PyAV and NumPy are imported only when a name that needs them is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from dycoke_cli.video.info import StreamInfo, VideoInfo
from dycoke_cli.video.sampling import Sampling, parse_time

if TYPE_CHECKING:
    from dycoke_cli.video.clip import Clip, Plan
    from dycoke_cli.video.decode import open_clip, plan, read
    from dycoke_cli.video.decoder import Decoder
    from dycoke_cli.video.stdin import STDIN, STDIN_NAME
    from dycoke_cli.video.subtitles import Subtitles, SubtitleSource, find_source, read_subtitles

__all__ = [
    "STDIN",
    "STDIN_NAME",
    "Clip",
    "Decoder",
    "Plan",
    "Sampling",
    "StreamInfo",
    "SubtitleSource",
    "Subtitles",
    "VideoInfo",
    "find_source",
    "open_clip",
    "parse_time",
    "plan",
    "read",
    "read_subtitles",
]

_HOMES = {
    "clip": ("Clip", "Plan"),
    "decode": ("open_clip", "plan", "read"),
    "decoder": ("Decoder",),
    "stdin": ("STDIN", "STDIN_NAME"),
    "subtitles": ("SubtitleSource", "Subtitles", "find_source", "read_subtitles"),
}


def __getattr__(name: str) -> Any:
    """Import a name at its first use."""
    home = next((module for module, names in _HOMES.items() if name in names), None)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)
