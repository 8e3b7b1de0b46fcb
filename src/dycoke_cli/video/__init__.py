"""Decoding of videos to RGB frames with their time stamps; independent of models and torch.

The module of a name is imported when the name is first used: some import PyAV and NumPy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dycoke_cli.video.clip import Clip, FramePlan, StreamInfo, VideoInfo
    from dycoke_cli.video.decoder import Decoder, read
    from dycoke_cli.video.files import STDIN, STDIN_NAME
    from dycoke_cli.video.sampling import Sampling, parse_time
    from dycoke_cli.video.subtitles import Subtitles, SubtitleSource, find_source, read_subtitles

__all__ = [
    "STDIN",
    "STDIN_NAME",
    "Clip",
    "Decoder",
    "FramePlan",
    "Sampling",
    "StreamInfo",
    "SubtitleSource",
    "Subtitles",
    "VideoInfo",
    "find_source",
    "parse_time",
    "read",
    "read_subtitles",
]

_HOMES = {
    "clip": ("Clip", "FramePlan", "StreamInfo", "VideoInfo"),
    "decoder": ("Decoder", "read"),
    "files": ("STDIN", "STDIN_NAME"),
    "sampling": ("Sampling", "parse_time"),
    "subtitles": ("SubtitleSource", "Subtitles", "find_source", "read_subtitles"),
}


def __getattr__(name: str) -> Any:
    """Import a name at its first use."""
    home = next((module for module, names in _HOMES.items() if name in names), None)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)
