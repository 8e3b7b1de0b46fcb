"""What an answer costs over the number of frames: time and memory by stage, and their exponents.

`python -m benchmarks.frames` asks one question about drawn clips of 8 to 256 frames, each with each
method in a process of its own, with random weights. The exponents are fitted to the figures of a
method: 1 is a cost that grows as the frames do, 0 one that doesn't.
"""

from __future__ import annotations

import ctypes
import json
import math
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated

import typer

from benchmarks import resident
from benchmarks.drawn import drawn
from benchmarks.kept_tables import keep
from benchmarks.page import ROOT, where
from dycoke_cli.errors import UsageError

MODEL = "llava-onevision-0.5b"
METHODS = (
    "none",
    "dycoke",
    "dycoke:merge_stage=vision",
    "dycoke-plus:retain=0.1:merge_stage=vision",
)
FRAMES = (8, 16, 32, 64, 128, 256)
QUESTION = "What happens in the video?"
NEW_TOKENS = 32


@dataclass(frozen=True)
class Cost:
    """Of one answer. Working memory of a stage is what it takes beyond what it leaves behind."""

    visual: int  # tokens that the language model reads of the video
    vision: float  # seconds of the vision tower
    prefill: float  # seconds of the prefill, the selection of tokens included
    token: float  # seconds per generated token after the first
    total: float  # seconds from frames to the last token
    vision_working: int  # bytes, of the vision tower
    prefill_working: int  # bytes, of the prefill
    kv_cache: int  # bytes that are held
    peak: int  # bytes beyond what the process held before: weights, and the frames


_COLUMNS = {
    "vision": ("vision, s", 1.0),
    "prefill": ("prefill, s", 1.0),
    "token": ("TPOT, ms", 1e3),
    "total": ("end to end, s", 1.0),
    "vision_working": ("vision, working MB", 1e-6),
    "prefill_working": ("prefill, working MB", 1e-6),
    "kv_cache": ("KV cache, MB", 1e-6),
    "peak": ("peak memory, excluding weights, MB", 1e-6),
}
"""Title and unit of what has an exponent, by its field."""


class Resident:
    """Resident memory of this process, and its peak since the last mark; Linux alone tells it."""

    def mark(self) -> int:
        """Bytes that are held now, free ones returned to the system; peaks count from here on."""
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        resident.forget_peak()
        return resident.held() or 0

    def peak(self) -> int:
        """Bytes, the most since the last mark."""
        return resident.peak() or 0


def cost_of(model: str, method: str, frames: int, quantize: str | None, dtype: str) -> Cost | None:
    """Ask once; None where the video doesn't fit into the model's context."""
    from dycoke_cli import VideoSession, load
    from dycoke_cli.compression.method_specs import parse_specs
    from dycoke_cli.engine.binding import bind
    from dycoke_cli.engine.generation import Stopwatch
    from dycoke_cli.engine.generation_options import GenerationOptions
    from dycoke_cli.models.catalog import published_names

    random = model in published_names()
    loaded = load(model, random_weights=random, quantize=quantize, dtype=dtype)
    chosen = bind(parse_specs(method)[0].create(), loaded.traits)
    # The first answer of a process sets things up.
    VideoSession(loaded, drawn(4), reuse=False).ask(QUESTION, chosen, max_new_tokens=2)
    clip, memory = drawn(frames), Resident()
    before = memory.mark()
    session = VideoSession(loaded, clip, reuse=False)
    try:
        session.prompt(QUESTION, (), chosen, GenerationOptions(max_new_tokens=NEW_TOKENS))
    except UsageError:
        return None
    memory.mark()
    vision = session.encode(Stopwatch(loaded.input_device), chosen)["vision"]
    peaks = {"vision": memory.peak()}
    held = {"vision": memory.mark()}

    def note(stage: str, done: int, total: int) -> None:
        if stage == "decode" and "prefill" not in peaks:
            peaks["prefill"] = memory.peak()
            held["prefill"] = memory.mark()

    session.on_progress = note
    answer = session.ask(QUESTION, chosen, max_new_tokens=NEW_TOKENS)
    return Cost(
        visual=answer.tokens.visual_kept,
        vision=vision,
        prefill=answer.seconds.prefill,
        token=answer.seconds.decode / (answer.tokens.generated - 1),
        total=vision + answer.seconds.prefill + answer.seconds.decode,
        vision_working=max(peaks["vision"] - held["vision"], 0),
        prefill_working=max(peaks["prefill"] - held["prefill"], 0),
        kv_cache=answer.bytes.kv_cache,
        peak=max(*peaks.values(), memory.peak()) - before,
    )


def exponent(costs: Mapping[int, float]) -> float | None:
    """b of the line a + b log(frames) that fits log(cost) best; None below two positive costs."""
    points = [(math.log(frames), math.log(cost)) for frames, cost in costs.items() if cost > 0]
    if len(points) < 2:
        return None
    x_mean, y_mean = (sum(axis) / len(points) for axis in zip(*points, strict=True))
    spread = sum((x - x_mean) ** 2 for x, _ in points)
    return sum((x - x_mean) * (y - y_mean) for x, y in points) / spread


def table(method: str, costs: Mapping[int, Cost | None]) -> str:
    """The rows of a method, and their exponents."""
    titles = [title for title, _ in _COLUMNS.values()]
    lines = [f"| `{method}`, frames | visual tokens at prefill | {' | '.join(titles)} |"]
    lines.append(f"|---|---|{'---|' * len(titles)}")
    for frames, cost in costs.items():
        if cost is None:
            lines.append(f"| {frames} | longer than the context |{' |' * len(titles)}")
            continue
        cells = (f"{getattr(cost, name) * unit:,.3g}" for name, (_, unit) in _COLUMNS.items())
        lines.append(f"| {frames} | {cost.visual:,} | {' | '.join(map(_plain, cells))} |")
    found = {frames: cost for frames, cost in costs.items() if cost is not None}
    fits = [exponent({n: getattr(cost, name) for n, cost in found.items()}) for name in _COLUMNS]
    cells = ("" if fit is None else f"{fit:.2f}" for fit in fits)
    lines.append(f"| exponent | | {' | '.join(cells)} |")
    return "\n".join(lines)


def _plain(figure: str) -> str:
    """Without the e of large numbers in three digits."""
    return f"{float(figure):,.0f}" if "e+" in figure else figure


def _in_a_process(arguments: Sequence[str]) -> Cost | None:
    command = [sys.executable, "-m", "benchmarks.frames", *arguments, "--one"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=os.environ, cwd=ROOT)
    found = json.loads(done.stdout)
    return None if found is None else Cost(**found)


def main(
    model: Annotated[str, typer.Option(help="mini, or a published configuration.")] = MODEL,
    method: Annotated[list[str] | None, typer.Option(help="As of eval; repeat it.")] = None,
    frames: Annotated[list[int] | None, typer.Option(min=4, help="Repeat it.")] = None,
    quantize: Annotated[str | None, typer.Option(help="As of ask.")] = None,
    dtype: Annotated[str, typer.Option(help="As of ask.")] = "auto",
    write: Annotated[bool, typer.Option("--write", help="Into docs/data/tables.")] = False,
    one: Annotated[bool, typer.Option("--one", hidden=True)] = False,
) -> None:
    """Measure, and print the tables."""
    methods, counts = method or METHODS, frames or FRAMES
    if one:
        cost = cost_of(model, methods[0], counts[0], quantize, dtype)
        print(json.dumps(None if cost is None else asdict(cost)))
        return
    tables = []
    for name in methods:
        costs = {}
        for count in counts:
            given = ["--model", model, "--method", name, "--frames", str(count), "--dtype", dtype]
            given += ["--quantize", quantize] if quantize else []
            costs[count] = _in_a_process(given)
            print(f"{name}, {count} frames: {costs[count]}", file=sys.stderr, flush=True)
        tables.append(table(name, costs))
    weights = "its own" if model == "mini" else "random"
    told = f"`{model}`, {weights} weights, {quantize or dtype}, {NEW_TOKENS} new tokens, 1 run."
    found = "\n\n".join([*tables, f"{told} {where()}"])
    print(found)
    if write:
        keep(found, "frames")


if __name__ == "__main__":
    typer.run(main)
