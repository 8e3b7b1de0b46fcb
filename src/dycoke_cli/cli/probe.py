"""`dycoke probe`: what would be read of a video, without loading a model."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import TYPE_CHECKING, Any

from dycoke_cli import __version__
from dycoke_cli.cli import choice, options, output, render
from dycoke_cli.cli.source import read_video
from dycoke_cli.models import settings
from dycoke_cli.models.source import find

if TYPE_CHECKING:
    from dycoke_cli.video import Clip

SCHEMA = "dycoke.probe/1"


def probe(
    video: options.VideoArgument,
    frames: options.Frames = None,
    fps: options.Fps = None,
    max_frames: options.MaxFrames = None,
    start: options.Start = None,
    end: options.End = None,
    stream: options.Stream = None,
    model: options.Model = None,
    as_json: options.Json = False,
) -> None:
    """Show what would be read of a video, and how many visual tokens that is.

    No model is loaded.
    """
    with contextlib.ExitStack() as stack:
        if as_json:
            stack.enter_context(output.failures_as_json(SCHEMA, [{"video": video}]))
        sampling = choice.sampling(
            frames=frames, fps=fps, max_frames=max_frames, start=start, end=end, stream=stream
        )
        name = model if model is not None else settings.default_model() or settings.BUNDLED
        per_frame = _tokens_per_frame(name)
        document = _document(video, name, per_frame, read_video(video, sampling))
        if as_json:
            output.write_json(document)
            return
        for warning in document["warnings"]:
            render.warning(warning)
        render.probe_table(document)


def _tokens_per_frame(name: str) -> int:
    entry = find(name).entry
    if entry is not None:
        return entry.tokens_per_frame
    from dycoke_cli.models.loading import tokens_per_frame

    return tokens_per_frame(name)


def _document(video: str, model: str, per_frame: int, clip: Clip) -> dict[str, Any]:
    from dycoke_cli.compression.dycoke import DyCoke

    method = DyCoke()
    count = len(clip.timestamps_s)
    info = {name: value for name, value in dataclasses.asdict(clip.info).items() if name != "path"}
    return {
        "schema": SCHEMA,
        "version": __version__,
        "video": video,
        "info": info,
        "frames": {"count": count, "timestamps_s": list(clip.timestamps_s)},
        "model": model,
        "tokens": {
            "per_frame": per_frame,
            "visual": count * per_frame,
            "visual_kept": method.kept_tokens(count, per_frame),
            "merge_ratio": method.merge_ratio,
        },
        "warnings": list(clip.warnings),
    }
