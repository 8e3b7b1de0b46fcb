"""The table of `dycoke probe`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from dycoke_cli.cli.render.figures import named
from dycoke_cli.cli.render.units import count, share
from dycoke_cli.cli.text import one_line

if TYPE_CHECKING:
    from dycoke_cli.cli.probe_document import Probed
    from dycoke_cli.video import VideoInfo


def probe(probed: Probed) -> Table:
    """The stream, the frames sampled, and their visual tokens."""
    return named(_probe_rows(probed))


def _probe_rows(probed: Probed) -> list[tuple[str, str]]:
    info, frames, tokens = probed.info, probed.frames, probed.tokens
    turned = f", turned by {info.rotation_deg}°" if info.rotation_deg else ""
    mirrored = ", mirrored" if info.mirrored else ""
    kept = tokens.visual_kept
    return [
        ("Video", one_line(probed.video)),
        ("Container", info.container),
        ("Stream", _streams(info)),
        ("Resolution", f"{info.width} × {info.height}{turned}{mirrored}"),
        ("Frame rate", _rate(info.fps, info.variable_rate)),
        ("Duration", _duration(info.duration_s)),
        ("Frames sampled", f"{frames.count}, at {_times(frames.timestamps_s)} s"),
        (
            "Visual tokens",
            f"{count(tokens.visual)} for {one_line(probed.model)}"
            f" ({count(tokens.frames)} × {count(tokens.per_frame)})"
            f" → {count(kept)} after TTM at K={tokens.merge_ratio:g}"
            f" ({share(kept, tokens.visual)})",
        ),
    ]


def _streams(info: VideoInfo) -> str:
    read = f"{info.stream} ({info.codec})"
    others = [
        f"{stream.index} ({stream.codec}, {stream.width} × {stream.height})"
        for stream in info.video_streams
        if stream.index != info.stream
    ]
    return f"{read}; there is also {', '.join(others)}" if others else read


def _rate(fps: float | None, varies: bool | None) -> str:
    if fps is None:
        return "not declared"
    return f"{fps:.4g} frames per second" + (", variable (mean)" if varies else "")


def _duration(seconds: float | None) -> str:
    return "not declared" if seconds is None else f"{seconds:.2f} s"


def _times(seconds: Sequence[float], shown: int = 40) -> str:
    text = " ".join(f"{second:.2f}" for second in seconds[:shown])
    return text if len(seconds) <= shown else f"{text} … {seconds[-1]:.2f}"
