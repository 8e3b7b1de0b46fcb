"""`dycoke probe`: frame sampling and visual tokens of a video, without loading a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from rich.table import Table

from dycoke_cli.answer.answer import ReportedFrames, ReportedSubtitles, Version
from dycoke_cli.answer.json_schema import ABSENT, Absent, Count, Doc
from dycoke_cli.cli import output, render
from dycoke_cli.cli.flags import request_flags, shared_flags
from dycoke_cli.cli.flags.param_flags import spread
from dycoke_cli.cli.render.figures import named
from dycoke_cli.cli.render.units import count, counted, share
from dycoke_cli.compression.methods.dycoke import DyCoke
from dycoke_cli.models.load_options import BUNDLED, SPEECH_MODEL
from dycoke_cli.unicode import one_line
from dycoke_cli.version import __version__
from dycoke_cli.video.clip import VideoInfo

if TYPE_CHECKING:
    from dycoke_cli.models.catalog import ClipTokens, ModelRef
    from dycoke_cli.video.clip import Clip

SCHEMA = "dycoke.probe/1"


@spread
def probe(
    video: shared_flags.VideoArgument,
    sampling: request_flags.Frames,
    model: request_flags.ModelFlag,
    limits: request_flags.Limiting,
    subtitles: shared_flags.Subtitles = None,
    speech_model: shared_flags.SpeechModel = SPEECH_MODEL,
    as_json: shared_flags.Json = False,
) -> None:
    """Show which frames of a video are sampled, and their visual tokens.

    Examples:
        dycoke probe talk.mkv --fps 1 --end 5:00 --model qwen2.5-vl-3b --json

    No model is loaded.
    """
    # Imported late: help and completion need the flags alone.
    from dycoke_cli.models.catalog import find
    from dycoke_cli.models.speech import with_speech
    from dycoke_cli.video.decoder import Decoder
    from dycoke_cli.video.subtitles import find_source

    with output.failures_as_json(as_json, SCHEMA, [{"video": video}]):
        name = model.named or BUNDLED
        source = find(name)
        lines = None
        if subtitles is not None:
            lines = find_source(video, subtitles, speech_model=speech_model)
        with Decoder(limits) as decoder, decoder.open(video, sampling, subtitles=lines) as opened:
            clip = with_speech(opened.read(), opened, lines)
        probed = _probed(video, name, clip, _clip_tokens(source, clip))
        for warning in () if as_json else probed.warnings:
            render.warning(warning)
        output.show(probed, as_json, table)


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
    """The streams of a video, the frames sampled, and their visual tokens."""

    schema: str = SCHEMA
    version: Version = __version__
    video: Annotated[str, Doc("As given.")]
    info: VideoInfo
    frames: ReportedFrames
    subtitles: Annotated[
        ReportedSubtitles | Absent, Doc("With --subtitles, where the video has any.")
    ] = ABSENT
    model: Annotated[str, Doc("Whose visual tokens are counted.")]
    tokens: ClipTokenCounts
    warnings: Annotated[tuple[str, ...], Doc("Human-readable sentences.")]


def _clip_tokens(source: ModelRef, clip: Clip) -> ClipTokens:
    frames, height, width = clip.frames.shape[:3]
    # The catalog has the token counts of many models, for which no processor has to be loaded.
    tokens = source.entry.clip_tokens(frames, height, width) if source.entry is not None else None
    if tokens is not None:
        return tokens
    from dycoke_cli.models.prompts.stock_prompt import count_tokens

    return count_tokens(source, clip)


def _probed(video: str, model: str, clip: Clip, tokens: ClipTokens) -> Probed:
    method, lines = DyCoke(), clip.subtitles
    return Probed(
        video=video,
        info=clip.info,
        frames=ReportedFrames(len(clip.timestamps_s), tuple(clip.timestamps_s)),
        subtitles=ABSENT if lines is None else ReportedSubtitles(lines.source, len(lines.lines)),
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


def table(probed: Probed) -> Table:
    """Table of streams, sampled frames and visual tokens."""
    return named(_rows(probed))


def _rows(probed: Probed) -> list[tuple[str, str]]:
    said, lines = list[tuple[str, str]](), probed.subtitles
    if not isinstance(lines, Absent):
        said = [("Subtitles", one_line(f"{counted(lines.lines, 'line')} of {lines.source}"))]
    info, frames, tokens = probed.info, probed.frames, probed.tokens
    kept = tokens.visual_kept
    return [
        ("Video", one_line(probed.video)),
        ("Container", info.container),
        ("Stream", _streams(info)),
        ("Resolution", f"{info.width} × {info.height}"),
        ("Frame rate", _rate(info.fps, info.variable_rate)),
        ("Duration", "not declared" if info.duration_s is None else f"{info.duration_s:.2f} s"),
        ("Frames sampled", f"{frames.count}, at {_times(frames.timestamps_s)} s"),
        *said,
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


def _times(seconds: Sequence[float], shown: int = 40) -> str:
    text = " ".join(f"{second:.2f}" for second in seconds[:shown])
    return text if len(seconds) <= shown else f"{text} … {seconds[-1]:.2f}"
