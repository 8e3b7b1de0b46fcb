"""One question under several methods: which visual tokens each kept, and attended to by token."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

from dycoke_cli.answer.answer import Decode, Flops, Model, Refusal, Tokens, Version
from dycoke_cli.answer.answer_trace import Trace
from dycoke_cli.answer.json_schema import Amount, Count, Doc
from dycoke_cli.errors import UsageError
from dycoke_cli.version import __version__

if TYPE_CHECKING:
    from PIL.Image import Image

    from dycoke_cli.compression.base import Method
    from dycoke_cli.engine.generation_options import GenerationOptions
    from dycoke_cli.engine.session import VideoSession

SCHEMA = "dycoke.inspect/1"
_DIGITS = 4
"""Of attention: more would only make the document longer."""


@dataclass(frozen=True)
class TokenGrid:
    """Where visual tokens are: `frame*rows*columns + row*columns + column`."""

    frames: Annotated[Count, Doc("As the model sees them: pairs of frames, where it merges pairs.")]
    rows: Count
    columns: Count
    timestamps_s: Annotated[
        tuple[Amount, ...], Doc("Of each of them (of a pair the first), from the first frame.")
    ]


@dataclass(frozen=True)
class Inspected:
    """What one method did."""

    title: Annotated[str, Doc("The method, with the parameters that have an effect.")]
    method: Annotated[dict[str, Any], Doc("Its name and every parameter.")]
    answer: Annotated[str, Doc("The answer, without special tokens.")]
    finish_reason: Annotated[Literal["stop", "length"], Doc("length: cut by --max-new-tokens.")]
    seed: Annotated[int | None, Doc("Sampling seed; null for greedy decoding.", minimum=0)]
    tokens: Tokens
    decode: Decode
    flops: Flops
    kv_active_bytes: Annotated[Count, Doc("Keys and values that the last step attended to.")]
    warnings: Annotated[tuple[str, ...], Doc("Human-readable sentences.")]
    trace: Trace


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """A question under each method."""

    schema: str = SCHEMA
    version: Version = __version__
    video: Annotated[str, Doc("As given.")]
    question: Annotated[str, Doc("The question.")]
    model: Model
    grid: TokenGrid
    methods: tuple[Inspected, ...]


def inspect_question(
    session: VideoSession,
    video: str,
    question: str,
    methods: Sequence[Method],
    options: GenerationOptions,
    on_text: Callable[[int, str], None] | None = None,
) -> Inspection:
    """Ask a question under several methods, and record what each attended to.

    All are recorded in the same layer.

    Args:
        session: one video with a model.
        video: its name.
        question: plain text.
        methods: which of them are compared.
        options: how to generate.
        on_text: called with the number of the method and each stretch of its answer.

    Raises:
        UsageError: a model that can't be asked that, that no method can be attached to, or that has
            no layer which attends to every token.
        OutOfMemoryError: with the flag that helps.
    """
    from dycoke_cli.engine.trace import traced_layer

    loaded = session.loaded
    methods = [method.suited(loaded.method_defaults) for method in methods]
    config = loaded.model.get_decoder().config
    layer = traced_layer(config, loaded.method_defaults["prune_layer"], *methods)
    done = []
    for number, method in enumerate(methods):
        told = None if on_text is None else partial(on_text, number)
        answer = session.ask(question, method, on_text=told, **vars(replace(options, trace=layer)))
        if isinstance(answer, Refusal):
            raise UsageError(answer.warnings[-1])
        assert answer.trace is not None, "it was asked for"
        done.append(
            Inspected(
                title=" · ".join([method.title, *method.symbols(answer.tokens.visual_kept)]),
                method=answer.method,
                answer=answer.answer,
                finish_reason=answer.finish_reason,
                seed=answer.seed,
                tokens=answer.tokens,
                decode=answer.decode,
                flops=answer.flops,
                kv_active_bytes=answer.bytes.kv_active,
                warnings=answer.warnings,
                trace=_short(answer.trace),
            )
        )
        # The same draws, so that all that differs is the compression.
        options = replace(options, seed=answer.seed)
    return Inspection(
        video=video,
        question=question,
        model=answer.model,
        grid=grid_of(session),
        methods=tuple(done),
    )


def pictures(session: VideoSession, longest: int) -> list[Image]:
    """The frames that the tokens are laid over, as the model sees them; of a pair the first.

    Args:
        session: the video.
        longest: pixels of the longer side.
    """
    from PIL import Image

    frames = []
    stock = getattr(session.loaded.processor, "video_processor", None)
    for index in _first_frames(session):
        frame = Image.fromarray(session.clip.frames[index])
        if getattr(stock, "do_center_crop", False):
            side = min(frame.size)
            left, upper = (frame.width - side) // 2, (frame.height - side) // 2
            frame = frame.crop((left, upper, left + side, upper + side))
        frame.thumbnail((longest, longest))
        frames.append(frame)
    return frames


def _short(trace: Trace) -> Trace:
    return replace(
        trace,
        steps=tuple(
            replace(step, attention=tuple(float(f"{x:.{_DIGITS}g}") for x in step.attention))
            for step in trace.steps
        ),
    )


def _first_frames(session: VideoSession) -> list[int]:
    """For each frame as the model sees it, the first of the clip's frames that it is made of."""
    merged = -(-len(session.clip.frames) // session.video.frames)
    return [frame * merged for frame in range(session.video.frames)]


def grid_of(session: VideoSession) -> TokenGrid:
    """Where the visual tokens of a video are."""
    video, times = session.video, session.clip.timestamps_s
    height, width = session.clip.frames.shape[1:3]
    rows, columns = grid_shape(video.tokens_per_frame, video.inputs, height / width)
    shown = tuple(float(times[index]) for index in _first_frames(session))
    return TokenGrid(video.frames, rows, columns, shown)


def grid_shape(tokens: int, inputs: Mapping[str, Any], aspect: float) -> tuple[int, int]:
    """Rows and columns of a frame's tokens.

    Args:
        tokens: per frame.
        inputs: of the model; some families say there how many patches a frame has.
        aspect: height of the frame by its width, which decides between grids that aren't square.
    """
    grid = inputs.get("video_grid_thw")
    if grid is not None:
        _, high, wide = (int(size) for size in grid[0])
        merged = math.isqrt(high * wide // tokens)
        if (high // merged) * (wide // merged) == tokens:
            return high // merged, wide // merged
    side = math.isqrt(tokens)
    if side * side == tokens:
        return side, side
    rows = [n for n in range(1, tokens + 1) if tokens % n == 0]
    best = min(rows, key=lambda n: abs(math.log(n * n / tokens / aspect)))
    return best, tokens // best
