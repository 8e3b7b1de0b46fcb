"""The JSON object of `dycoke probe`; importing it imports PyAV."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from dycoke_cli.json_schema import Doc
from dycoke_cli.result import Count, Frames, Version
from dycoke_cli.version import __version__
from dycoke_cli.video import VideoInfo


@dataclass(frozen=True)
class ClipTokenCounts:
    """The visual tokens of the frames."""

    frames: Annotated[Count, Doc("As the model encodes them: pairs, where it merges two.")]
    per_frame: Annotated[Count, Doc("Visual tokens of each.")]
    visual: Annotated[Count, Doc("Visual tokens before compression.")]
    visual_kept: Annotated[Count, Doc("Visual tokens at prefill, at merge_ratio.")]
    merge_ratio: Annotated[float, Doc("The default of --merge-ratio.", minimum=0)]


@dataclass(frozen=True, kw_only=True)
class Probed:
    """The stream of a video, the frames sampled, and their visual tokens."""

    schema: str
    version: Version = __version__
    video: Annotated[str, Doc("As given.")]
    info: VideoInfo
    frames: Frames
    model: Annotated[str, Doc("Whose visual tokens are counted.")]
    tokens: ClipTokenCounts
    warnings: Annotated[tuple[str, ...], Doc("Human-readable sentences.")]
