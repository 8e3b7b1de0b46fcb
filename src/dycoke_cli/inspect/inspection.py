"""One question under several methods: which tokens each kept and attended to, as data and page."""

from __future__ import annotations

import base64
import hashlib
import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import TYPE_CHECKING, Annotated, Any, Literal

from dycoke_cli.answer.answer import Decode, Flops, ReportedModel, Tokens, Trace, Version
from dycoke_cli.answer.json_schema import Amount, Count, Doc, to_dict
from dycoke_cli.unicode import to_json
from dycoke_cli.version import __version__
from dycoke_cli.video.clip import decoded_size

if TYPE_CHECKING:
    from PIL.Image import Image

    from dycoke_cli.compression.method import Method
    from dycoke_cli.engine.generation_options import GenerationOptions
    from dycoke_cli.engine.session import VideoSession


SCHEMA = "dycoke.inspect/1"
_DIGITS = 4
"""Significant digits of attention: more would only make the document longer."""


@dataclass(frozen=True)
class TokenGrid:
    """Grid of visual tokens; the index of one is `frame*rows*columns + row*columns + column`."""

    frames: Annotated[Count, Doc("As the model sees them: pairs of frames, where it merges pairs.")]
    rows: Count
    columns: Count
    timestamps_s: Annotated[
        tuple[Amount, ...], Doc("Time stamp of each (of a pair, the first), from the first frame.")
    ]


@dataclass(frozen=True)
class Inspected:
    """Answer, selection and attention of one method: an entry of `methods`."""

    title: Annotated[str, Doc("The method, with the parameters that have an effect.")]
    method: Annotated[dict[str, Any], Doc("Its name and every parameter.")]
    answer: Annotated[str, Doc("The answer, without special tokens.")]
    finish_reason: Annotated[Literal["stop", "length"], Doc("length: cut by --max-tokens.")]
    seed: Annotated[int | None, Doc("Sampling seed; null for greedy decoding.", minimum=0)]
    tokens: Tokens
    decode: Decode
    flops: Flops
    kv_active_bytes: Annotated[Count, Doc("Keys and values that the last step attended to.")]
    warnings: Annotated[tuple[str, ...], Doc("Human-readable sentences.")]
    trace: Trace


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """Comparison of methods on one question: the JSON object of `dycoke inspect --json`."""

    schema: str = SCHEMA
    version: Version = __version__
    video: Annotated[str, Doc("As given.")]
    question: Annotated[str, Doc("The question.")]
    model: ReportedModel
    grid: TokenGrid
    methods: tuple[Inspected, ...]


def inspect_question(
    session: VideoSession,
    video: str,
    question: str,
    methods: Sequence[Method],
    options: GenerationOptions,
) -> Inspection:
    """Answer a question under several methods, and record the attention of one layer.

    All methods are recorded in the same layer, so that their attention is comparable.

    Args:
        question: plain text.
    """
    from dycoke_cli.compression.registry import symbols
    from dycoke_cli.engine.settling import settled
    from dycoke_cli.engine.trace import traced_layer

    loaded = session.loaded
    methods = [settled(method, loaded.info) for method in methods]
    session.record_attention_for(methods)
    config = loaded.model.get_decoder().config
    layer = traced_layer(config, loaded.info.defaults["prune_layer"], *methods)
    inspected = []
    for method in methods:
        answer = session.ask(question, method, **vars(replace(options, trace=layer)))
        assert answer.trace is not None, "the options have a trace"
        shown = symbols(method)
        inspected.append(
            Inspected(
                title=" · ".join([method.title, *shown]),
                method=answer.method,
                answer=answer.answer,
                finish_reason=answer.finish_reason,
                seed=answer.seed,
                tokens=answer.tokens,
                decode=answer.decode,
                flops=answer.flops,
                kv_active_bytes=answer.bytes.kv_active,
                warnings=answer.warnings,
                trace=_rounded(answer.trace),
            )
        )
        # The same seed, so that answers differ by compression only.
        options = replace(options, seed=answer.seed)
    return Inspection(
        video=video,
        question=question,
        model=answer.model,
        grid=grid_of(session),
        methods=tuple(inspected),
    )


def pictures(session: VideoSession, longest: int) -> list[Image]:
    """Frames under the token grid, cropped as the model sees them; of a pair, the first."""
    from PIL import Image

    frames = []
    stock = getattr(session.loaded.processor, "video_processor", None)
    for index in _first_frames(session):
        frame = Image.fromarray(session.clip.frames[index])
        # Some stock processors crop frames to a square, so the tokens cover only that part.
        if getattr(stock, "do_center_crop", False):
            side = min(frame.size)
            left, upper = (frame.width - side) // 2, (frame.height - side) // 2
            frame = frame.crop((left, upper, left + side, upper + side))
        frame.thumbnail((longest, longest))
        frames.append(frame)
    return frames


def _rounded(trace: Trace) -> Trace:
    return replace(
        trace,
        steps=tuple(
            replace(step, attention=tuple(float(f"{x:.{_DIGITS}g}") for x in step.attention))
            for step in trace.steps
        ),
    )


def _first_frames(session: VideoSession) -> list[int]:
    """Index of the first clip frame of each model frame; some models merge frames in pairs."""
    merged = -(-len(session.clip.frames) // session.video.frames)
    return [frame * merged for frame in range(session.video.frames)]


def grid_of(session: VideoSession) -> TokenGrid:
    """Token grid of a video."""
    video, times = session.video, session.clip.timestamps_s
    height, width = decoded_size(session.clip)
    rows, columns = grid_shape(video.tokens_per_frame, video.inputs, height / width)
    shown = tuple(float(times[index]) for index in _first_frames(session))
    return TokenGrid(video.frames, rows, columns, shown)


def grid_shape(tokens: int, inputs: Mapping[str, Any], aspect: float) -> tuple[int, int]:
    """Rows and columns of a frame's token grid."""
    grid = inputs.get("video_grid_thw")
    if grid is not None:
        _, high, wide = (int(size) for size in grid[0])
        # A token is pooled from a square of `merged` × `merged` patches.
        merged = math.isqrt(high * wide // tokens)
        if (high // merged) * (wide // merged) == tokens:
            return high // merged, wide // merged
    side = math.isqrt(tokens)
    if side * side == tokens:
        return side, side
    rows = [n for n in range(1, tokens + 1) if tokens % n == 0]
    # The grid whose shape is nearest to the frame's, as a ratio: 2:1 is as far from 1:1 as 1:2.
    best = min(rows, key=lambda n: abs(math.log(n * n / tokens / aspect)))
    return best, tokens // best


# Self-contained HTML page: the front end of this folder with embedded data.
#
# The content security policy allows only its own script and style (by hash) and no requests. Data
# are one block of JSON, which the script inserts as text, never as markup.


PICTURE_PX = 320
"""The longer side of a frame's picture."""
_SCRIPTS = ("page.js", "inspection.js")
_QUALITY = 82
_PLACE = re.compile(r"@(POLICY|STYLE|SCRIPT|DATA)@")


def page(data: Mapping[str, Any]) -> str:
    """Render the page.

    Args:
        data: `inspection`, a `dycoke.inspect/1` object, and `pictures`, a data URI for each of its
            frames (see `data_of`).
    """
    # `</script>` in a text would end the block; JSON accepts the escapes anywhere in a string.
    shown = to_json(dict(data)).replace("<", "\\u003c").replace(">", "\\u003e")
    parts = {"POLICY": _policy(), "STYLE": _style(), "SCRIPT": _script(), "DATA": shown}
    # One pass, so that a placeholder's name within the data isn't replaced.
    return _PLACE.sub(lambda place: parts[place[1]], _read("page.html"))


def _policy() -> str:
    """Content security policy of the page."""
    return "; ".join(
        [
            "default-src 'none'",
            "img-src data:",
            f"style-src '{_digest(_style())}'",
            f"script-src '{_digest(_script())}'",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )


def data_of(inspection: Inspection, frames: Iterable[Image]) -> dict[str, Any]:
    """Data of an inspection's page."""
    return {"inspection": to_dict(inspection), "pictures": as_uris(frames)}


def as_uris(pictures: Iterable[Image]) -> list[str]:
    """Encode images as JPEG data URIs."""
    uris = []
    for picture in pictures:
        file = io.BytesIO()
        picture.convert("RGB").save(file, "JPEG", quality=_QUALITY)
        uris.append("data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode())
    return uris


def _style() -> str:
    return _read("page.css")


def _script() -> str:
    return "\n\n".join(map(_read, _SCRIPTS))


def _read(name: str) -> str:
    return files("dycoke_cli.inspect").joinpath(name).read_text("utf-8").strip()


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
