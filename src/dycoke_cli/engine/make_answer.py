"""Makes the answer object."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from dycoke_cli.answer.answer import (
    Answer,
    Bytes,
    Decode,
    OneVideo,
    ReportedModel,
    ReportedSubtitles,
    ReportedWindows,
    Seconds,
    Tokens,
)
from dycoke_cli.answer.answer import ReportedFrames as ReadFrames
from dycoke_cli.answer.json_schema import ABSENT, Absent
from dycoke_cli.compression.method import Method, Pruning
from dycoke_cli.compression.registry import described
from dycoke_cli.engine.context import frames_warning, positions_warning
from dycoke_cli.engine.generate import Generated, read_per_token
from dycoke_cli.engine.memory.flops import paper_flops
from dycoke_cli.engine.memory.sizes import Sizes
from dycoke_cli.engine.state import DecodeStats
from dycoke_cli.engine.supported import other_caches
from dycoke_cli.engine.vocabulary import unknown_words
from dycoke_cli.models.load import LoadedModel
from dycoke_cli.models.prompts.stock_processor import ClipLike

_NAMED_WORDS = 5


def make_answer(
    question: str,
    loaded: LoadedModel,
    method: Method,
    clips: Sequence[ClipLike],
    generated: Generated,
    visual: Sequence[int],
    *,
    prompt_tokens: int,
    seconds: dict[str, float],
    total: float,
    peak: tuple[int | None, int | None],
    session_warnings: Sequence[str] = (),
    reused: int = 0,
    windows: ReportedWindows | Absent = ABSENT,
) -> Answer:
    """Make the answer object from what the stages measured.

    Args:
        seconds: by stage, those before the prefill; keys of `result.Seconds`.
        total: seconds since the question was asked.
        peak: bytes (working, total).
    """
    shown = sum(visual)
    stats = generated.stats or DecodeStats(
        visual=shown, visual_kept=shown, kept_by_video=tuple(visual)
    )
    # The first token comes out of the prefill; a typed question generates none.
    steps = max(len(generated.tokens) - 1, 0)
    pruning = method.pruning()
    text_config = loaded.model.get_decoder().config
    sizes = Sizes.of(loaded.model.config)
    decode = generated.seconds["decode"]
    # The watch started when the question was asked, after the frames had been decoded; those that
    # were read in windows had been encoded, too.
    before = seconds["video_decode"] + (0.0 if windows is ABSENT else seconds["vision"])
    warnings = [*_input_warnings(loaded, clips), *session_warnings]
    contiguous = method.renumbers() if windows is ABSENT else windows.positions == "renumbered"
    renumbers = contiguous if loaded.family.counts_tokens else None
    if beyond := positions_warning(
        stats.next_position + steps - 1, loaded.context_length, loaded.name, renumbers
    ):
        warnings.append(beyond)
    if unknown := unknown_words(loaded.processor.tokenizer, question):
        warnings.append(
            f"not in the model's vocabulary, read as unknown words: {', '.join(unknown)}"
        )
    # Of several videos the first one's are read.
    subtitles = clips[0].subtitles if clips else None
    if subtitles is not None:
        warnings += _unknown_subtitles(loaded, " ".join(line.text for line in subtitles.lines))
    if not generated.stopped:
        warnings.append(f"the answer was cut after {steps + 1} tokens (--max-tokens)")
    if early := _early_pruning(pruning, steps, sizes.layers):
        warnings.append(early)
    return Answer(
        question=question,
        answer=generated.text,
        finish_reason="stop" if generated.stopped else "length",
        seed=generated.seed,
        model=ReportedModel(loaded.name, loaded.revision, loaded.dtype, loaded.device),
        method=described(method),
        frames=_frames(*clips),
        videos=_videos(clips, visual, stats.kept_by_video),
        subtitles=ABSENT
        if subtitles is None
        else ReportedSubtitles(subtitles.source, len(subtitles.lines)),
        windows=windows,
        tokens=Tokens(
            reused=reused,
            visual=shown,
            visual_kept=stats.visual_kept,
            visual_active_in_decode=stats.mean_active,
            visual_read_per_step=_read_per_step(text_config, stats, pruning),
            text=prompt_tokens - shown,
            generated=len(generated.tokens),
        ),
        decode=Decode(
            steps=steps,
            choices_renewed=stats.choices_renewed,
            tokens_evicted=stats.tokens_evicted,
            tokens_recalled=stats.tokens_recalled,
        ),
        flops=paper_flops(
            hidden=sizes.hidden,
            mlp=sizes.mlp,
            text=prompt_tokens - shown,
            visual=shown,
            read=stats.read_by_layer(sizes.layers),
            attended=stats.attended_by_layer(pruning, sizes.layers),
            generated=len(generated.tokens) + generated.scored,
            reads_before=method.reads_before,
        ),
        seconds=Seconds(
            **seconds
            | generated.seconds
            | {"first_token": before + generated.seconds["first_token"], "total": before + total}
        ),
        tokens_per_second=steps / decode if steps and decode > 0 else None,
        bytes=Bytes(
            weights=loaded.weights_bytes,
            kv_cache=generated.kv_bytes,
            kv_active=generated.kv_active_bytes,
            read_per_token=read_per_token(loaded.model, generated.kv_active_bytes),
            peak_working=peak[0],
            peak_total=peak[1],
        ),
        warnings=tuple(warnings),
        trace=generated.trace,
    )


def _frames(*clips: ClipLike) -> ReadFrames:
    times = [time for clip in clips for time in clip.timestamps_s]
    return ReadFrames(len(times), tuple(times))


def _videos(
    clips: Sequence[ClipLike], visual: Sequence[int], kept: Sequence[int]
) -> tuple[OneVideo, ...] | Absent:
    if len(clips) < 2:
        return ABSENT
    each = zip(clips, visual, kept, strict=True)
    return tuple(OneVideo(frames=_frames(clip), visual=v, visual_kept=k) for clip, v, k in each)


def _unknown_subtitles(loaded: LoadedModel, text: str) -> list[str]:
    unknown = unknown_words(loaded.processor.tokenizer, text)
    if not unknown:
        return []
    some = ", ".join(unknown[:_NAMED_WORDS]) + (", …" if len(unknown) > _NAMED_WORDS else "")
    counted = "1 word" if len(unknown) == 1 else f"{len(unknown)} words"
    return [f"{counted} of the subtitles not in the model's vocabulary, read as unknown: {some}"]


MOST_PRUNED_STEPS = 8
"""Decoding steps of an answer about which nothing is said: a letter, a name, a few words."""


def _early_pruning(pruning: Pruning | None, steps: int, layers: int) -> str | None:
    """The sentence for an answer whose details one layer's selection may have lost.

    On a published language model a selection by a layer of the lower half finds few of the facts
    that the full cache finds, and one of the upper half nearly all (docs/methods.md).
    """
    if pruning is None or steps <= MOST_PRUNED_STEPS or 2 * pruning.layer >= layers:
        return None
    return (
        f"KV pruning from layer {pruning.layer} of {layers} can lose details of longer answers; "
        "kv_prune=false, as ttm, keeps them"
    )


def _input_warnings(loaded: LoadedModel, clips: Sequence[ClipLike]) -> list[str]:
    warnings = [*loaded.warnings]
    for clip in clips:
        sparse = frames_warning(clip.timestamps_s)
        warnings += [*clip.warnings, *([sparse] if sparse else ())]
    return [*dict.fromkeys(warnings)]


def _read_per_step(config: Any, stats: DecodeStats, pruning: Pruning | None) -> float | None:
    """Visual tokens that a step attends to, mean over steps and layers.

    None of a model with layers that don't attend to every token (sliding windows, linear
    attention): how many visual tokens those see isn't counted.
    """
    if other_caches(config):
        return None
    return fmean(stats.attended_by_layer(pruning, config.num_hidden_layers))
