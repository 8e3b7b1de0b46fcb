"""`dycoke probe`: frame sampling and visual tokens of a video, without loading a model."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from dycoke_cli.cli import flags, options, output, render
from dycoke_cli.cli.spread import spread
from dycoke_cli.json_schema import to_dict
from dycoke_cli.models import settings
from dycoke_cli.models.resolve import ModelRef, find
from dycoke_cli.result import Frames
from dycoke_cli.video.stdin import open_given

if TYPE_CHECKING:
    from dycoke_cli.cli.probe_document import Probed
    from dycoke_cli.models.frame_tokens import ClipTokens
    from dycoke_cli.video import Clip

SCHEMA = "dycoke.probe/1"


@spread
def probe(
    video: options.VideoArgument,
    sampling: flags.Frames,
    model: flags.Model,
    as_json: options.Json = False,
) -> None:
    """Show which frames of a video are sampled, and how many visual tokens they make.

    Examples:
        dycoke probe holiday.mp4
        dycoke probe talk.mkv --fps 1 --model qwen2.5-vl-3b
        dycoke probe talk.mkv --start 1:30 --end 5:00 --json

    No model is loaded.
    """
    with contextlib.ExitStack() as stack:
        if as_json:
            stack.enter_context(output.failures_as_json(SCHEMA, [{"video": video}]))
        name = model.named or settings.BUNDLED
        source = find(name)
        with open_given(video, sampling) as reader:
            clip = reader.read()
        probed = _probed(video, name, clip, _count(source, clip))
        if as_json:
            output.write_json(to_dict(probed))
            return
        for warning in probed.warnings:
            render.warning(warning)
        render.probe_table(probed)


def _count(source: ModelRef, clip: Clip) -> ClipTokens:
    count, height, width = clip.frames.shape[:3]
    known = source.entry.clip_tokens(count, height, width) if source.entry is not None else None
    if known is not None:
        return known
    from dycoke_cli.models.prompt import count_tokens

    return count_tokens(source, clip)


def _probed(video: str, model: str, clip: Clip, tokens: ClipTokens) -> Probed:
    from dycoke_cli.cli.probe_document import ClipTokenCounts, Probed
    from dycoke_cli.compression.methods.dycoke import DyCoke

    method = DyCoke()
    return Probed(
        schema=SCHEMA,
        video=video,
        info=clip.info,
        frames=Frames(len(clip.timestamps_s), tuple(clip.timestamps_s)),
        model=model,
        tokens=ClipTokenCounts(
            frames=tokens.frames,
            per_frame=tokens.per_frame,
            visual=tokens.visual,
            visual_kept=method.kept_tokens(tokens.frames, tokens.per_frame),
            merge_ratio=method.merge_ratio,
        ),
        warnings=tuple(clip.warnings),
    )
