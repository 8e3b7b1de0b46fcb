"""Table that compares the answers with and without compression (`--compare`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from rich.text import Text

from dycoke_cli.answer.answer import Answer
from dycoke_cli.cli.render.figures import FigureTable
from dycoke_cli.cli.render.typed_choice import likelihood
from dycoke_cli.cli.render.units import Quantity, column, count, flops, seconds, share, size
from dycoke_cli.unicode import one_line


def _read_per_step(answer: Answer) -> float | None:
    read = answer.tokens.visual_read_per_step
    return None if read is None else round(read, 1)


def _total_flops(answer: Answer) -> float:
    return answer.flops.prefill + answer.flops.decode


def _with_video(answer: Answer, encoded: Answer) -> Answer:
    """Add the time of decoding and encoding the video to an answer that reused it."""
    video_s, vision_s = encoded.seconds.video_decode, encoded.seconds.vision
    seconds_ = answer.seconds
    with_video = replace(
        seconds_,
        video_decode=video_s,
        vision=vision_s,
        first_token=seconds_.first_token + video_s + vision_s,
        total=seconds_.total + video_s + vision_s,
    )
    return replace(answer, seconds=with_video)


_SECONDS = partial(Quantity, shown=seconds)
_FIGURES: tuple[
    tuple[str, Callable[[Answer], float | None], Callable[[Any], str | Quantity]], ...
] = (
    ("Visual tokens at prefill", lambda answer: answer.tokens.visual_kept, count),
    ("Visual tokens attended per step", _read_per_step, count),
    ("Vision", lambda answer: answer.seconds.vision, _SECONDS),
    ("Prefill", lambda answer: answer.seconds.prefill, _SECONDS),
    ("TTFT", lambda answer: answer.seconds.first_token, _SECONDS),
    ("Decode", lambda answer: answer.seconds.decode, _SECONDS),
    ("End to end", lambda answer: answer.seconds.total, _SECONDS),
    ("KV cache in use", lambda answer: answer.bytes.kv_active, partial(Quantity, shown=size)),
    ("KV cache held", lambda answer: answer.bytes.kv_cache, partial(Quantity, shown=size)),
    ("LLM FLOPs (paper's formula)", _total_flops, partial(Quantity, shown=flops)),
)


def comparison(compressed: Answer, uncompressed: Answer) -> FigureTable:
    """Table of both answers and their costs, with ratios."""
    # The second answer reused the encoded video; its costs are compared as if it hadn't.
    shared = not uncompressed.seconds.vision
    if shared:
        uncompressed = _with_video(uncompressed, compressed)
    table = FigureTable(title=Text("With and without compression"), title_justify="left")
    table.add_column("")
    table.add_column(Text(one_line(compressed.method["name"])), ratio=1)
    table.add_column("baseline", ratio=1)
    table.add_column("ratio", justify="right", no_wrap=True)
    same = compressed.answer == uncompressed.answer
    table.add_row(
        "Answer",
        Text(one_line(compressed.answer)),
        Text(one_line(uncompressed.answer)),
        "identical" if same else "differs",
    )
    if (likely := likelihood(compressed)) is not None:
        table.add_row("Probability", likely, likelihood(uncompressed), "")
    for name, value, unit in _FIGURES:
        table.add_row(name, *_cells(value(compressed), value(uncompressed), unit))
    once = " The video was encoded once, for both." if shared else ""
    table.caption = Text(
        f"A short run came first that isn't measured, so that times compare.{once}"
    )
    table.caption_justify = "left"
    return table


def _cells(left: float | None, right: float | None, unit: Any) -> list[str]:
    if left is None or right is None:
        return ["–", "–", "–"]
    return [*column([unit(left), unit(right)]), share(left, right)]
