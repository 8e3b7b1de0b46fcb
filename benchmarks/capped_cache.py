"""What is answered from a capped KV cache, by each rule of eviction, at equal tokens.

`python -m benchmarks.capped_cache --model runs/long-kept` asks about the two-minute videos of
`shapes-long` (test split), at one frame per second: 512 visual tokens left of all that the language
model reads, by each rule. Beside it the same number of tokens of uniform frames, of the pool of
`--max-tokens`, and all tokens. Prints a table; `--videos` limits it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from benchmarks.cells import head, line, points
from benchmarks.page import machine
from benchmarks.shapes_long import DTYPE, KINDS
from benchmarks.shapes_long_rules import TOKENS
from dycoke_cli.compression.base import Method
from dycoke_cli.compression.bound import BASELINE
from dycoke_cli.compression.eviction import EVICTIONS, CacheLimit
from dycoke_cli.engine.session import VideoSession
from dycoke_cli.engine.windowed_video import read_windows
from dycoke_cli.evaluation.dataset import Item
from dycoke_cli.evaluation.datasets.shapes_long import FPS, LENGTHS_S, ShapesLong
from dycoke_cli.evaluation.eval_request import BUNDLED
from dycoke_cli.evaluation.scoring.statistics import clustered_mean, grouped
from dycoke_cli.models.load import LoadedModel, load
from dycoke_cli.stock.quiet import silence_libraries
from dycoke_cli.version import running_commit
from dycoke_cli.video import Sampling, read
from dycoke_cli.video.frame_windows import WINDOW, FrameWindow
from dycoke_cli.video.kept_frames import shape_alone

UNIFORM = "uniform frames"


def sessions(loaded: LoadedModel, video: Any) -> Iterator[tuple[str, VideoSession]]:
    """By row: the video as it is asked about."""
    frames = TOKENS // 16
    yield UNIFORM, VideoSession(loaded, read(video, Sampling(frames=frames)))
    whole = read(video, Sampling(fps=FPS))
    yield "all tokens", VideoSession(loaded, whole)
    parts = [
        FrameWindow(whole.frames[i : i + WINDOW], whole.resize)
        for i in range(0, len(whole.frames), WINDOW)
    ]
    nothing = shape_alone(len(whole.frames), whole.frames.shape[1:3])
    blank = replace(whole, frames=nothing, window=WINDOW)
    limits: dict[str, dict[str, Any]] = {"pool": {"max_tokens": TOKENS}} | {
        f"cache, {rule}": {"cache_limit": CacheLimit(TOKENS, rule)} for rule in EVICTIONS
    }
    for row, limit in limits.items():
        windowed = read_windows(loaded, BASELINE, blank, parts, WINDOW, **limit)
        yield row, VideoSession(loaded, blank, windowed=windowed)


def measured(loaded: LoadedModel, items: list[Item]) -> Iterator[tuple[str, Item, bool, int]]:
    """Row, question, whether it was answered correctly, and visual tokens left."""
    dataset = ShapesLong()
    for video, asked in grouped(items, lambda item: item.video).items():
        for row, session in sessions(loaded, dataset.file(video)):
            for item in asked:
                answer = session.ask(item.question, Method())
                right = dataset.score(item, answer.answer).right
                yield row, item, right, answer.tokens.visual_kept
        print(video, file=sys.stderr)


def table(results: list[tuple[str, Item, bool, int]]) -> list[str]:
    """Rows by rule: tokens left, correct answers by kind and in all, difference from uniform."""
    kinds = [kind for kind in KINDS if any(item.kind == kind for _, item, *_ in results)]
    right = {(row, item.id): ok for row, item, ok, _ in results}
    made = head("row", "tokens left", *kinds, "all", "difference from uniform frames")
    for row, of_row in grouped(results, lambda one: one[0]).items():
        items = [item for _, item, *_ in of_row]
        left = sum(tokens for *_, tokens in of_row) / len(of_row)
        cells = [
            _share([(float(right[row, i.id]), i.video) for i in items if kind in (None, i.kind)])
            for kind in (*kinds, None)
        ]
        gaps = [float(right[row, i.id]) - float(right[UNIFORM, i.id]) for i in items]
        gap, error = clustered_mean(gaps, [i.video for i in items])
        apart = "" if row == UNIFORM else f"{points(gap or 0)} ± {100 * (error or 0):.1f}"
        made.append(line(row, f"{left:.0f}", *cells, apart))
    return made


def _share(values: list[tuple[float, str]]) -> str:
    mean, error = clustered_mean([value for value, _ in values], [video for _, video in values])
    return f"{100 * (mean or 0):.0f} ± {100 * (error or 0):.0f}"


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", default=BUNDLED.model, help="another checkpoint folder")
    parser.add_argument("--videos", type=int, default=20, help="at most (20)")
    arguments = parser.parse_args()
    silence_libraries()
    dataset = ShapesLong()
    items = [
        item
        for item in dataset.items("test")
        if item.kind in KINDS and dataset.script(item.video).seconds == LENGTHS_S[0]
    ]
    some = [*dict.fromkeys(item.video for item in items)][: arguments.videos]
    items = [item for item in items if item.video in some]
    loaded = load(arguments.model, dtype=DTYPE)
    print("\n".join(table([*measured(loaded, items)])))
    print(
        f"\n{arguments.model}: {len(some)} videos of 2 min, {len(items)} questions each row; "
        f"{machine()}, commit {running_commit()}."
    )


if __name__ == "__main__":
    main()
