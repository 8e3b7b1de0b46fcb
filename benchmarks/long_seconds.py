"""How long an answer about a long video takes by several rules, stage by stage.

`python -m benchmarks.long_seconds` asks about the first three videos of each length (shapes-long,
test split, a frame per second, drawn while they are read) and writes a line per video into
runs/answers; an interrupted run resumes. The rules are those of `benchmarks.long_controls` (commit
f49bb2af). Measure on a quiet machine.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch

from benchmarks.json_lines import append_line, read_lines
from benchmarks.page import ROOT, machine
from dycoke_cli.compression.base import Method
from dycoke_cli.compression.budget import Budgeted
from dycoke_cli.compression.coverage import cover_and_merge, frame_of_each
from dycoke_cli.compression.methods import EVS, DyCokePlus, UniformSpatial
from dycoke_cli.compression.pool import Pool, PooledTokens
from dycoke_cli.compression.selection import Selection, SelectionInputs
from dycoke_cli.engine.binding import bind
from dycoke_cli.engine.generation import Stopwatch
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.engine.session import VideoSession
from dycoke_cli.evaluation.dataset import Item
from dycoke_cli.evaluation.datasets.shapes_long import EDITION, FPS, ShapesLong
from dycoke_cli.evaluation.scoring.statistics import grouped
from dycoke_cli.models.load import LoadedModel, load
from dycoke_cli.stock.quiet import silence_libraries
from dycoke_cli.version import running_commit
from dycoke_cli.video import Sampling, read
from dycoke_cli.video.frame_windows import WINDOW

OUT = ROOT / "runs" / "answers" / "seconds-long.jsonl"
VIDEOS = 3  # of a length
KINDS = ("needle", "needle place", "needle order", "order", "letter")
TOKENS = 512
"""That are read, 32 frames of the bundled model."""
NEW_TOKENS = 32
"""At most: the largest number and the question leave room for so many in the context of 2,048."""
PARTS = 32
"""Windows in which coverage compares tokens, of a video."""


@dataclass(frozen=True)
class Chosen(Budgeted):
    """Tokens that were selected before."""

    name: ClassVar[str] = "chosen"
    row: str = field(kw_only=True)
    selection: Selection = field(kw_only=True, compare=False)

    def kept_tokens(self, frames: int, per_frame: int) -> int:
        """The number of tokens."""
        return len(self.selection.kept)

    def choose(self, inputs: SelectionInputs) -> Selection:
        """The tokens themselves."""
        return self.selection


Rule = Callable[[torch.Tensor, int], Selection]


def at_random(features: torch.Tensor, count: int) -> Selection:
    """Single tokens, drawn."""
    drawn = torch.randperm(features.shape[:2].numel(), generator=torch.Generator().manual_seed(0))
    return Selection(drawn[:count].sort().values)


def _budgeted(method: Callable[[float], Budgeted]) -> Rule:
    def rule(features: torch.Tensor, count: int) -> Selection:
        # Half a token more, so that rounding down gives the number itself.
        chosen = method(min(1.0, (count + 0.5) / features.shape[:2].numel()))
        inputs = SelectionInputs(features)
        return chosen.finish(inputs, chosen.choose(inputs))

    return rule


def coverage(features: torch.Tensor, count: int) -> Selection:
    """Coverage, with the others merged."""
    window = max(1, len(features) // PARTS)
    return cover_and_merge(features.flatten(0, 1), frame_of_each(features), count, window)


def in_windows(features: torch.Tensor, count: int) -> Selection:
    """What `--method dycoke-plus --max-tokens` reads: a quarter of each window, then the pool."""
    method, pool = DyCokePlus(), Pool(count, features.shape[1])
    for number, window in enumerate(features.split(WINDOW)):
        inputs = SelectionInputs(window)
        selection = method.finish(inputs, method.choose(inputs))
        start = number * WINDOW * features.shape[1]
        pool.add(PooledTokens.of_window(selection, window.flatten(0, 1), (), start))
    tokens = pool.tokens().at_most(count, features.shape[1])
    return Selection(tokens.kept, tokens.features)


RULES: dict[str, Rule] = {
    "random": at_random,
    "stride, merged": _budgeted(lambda share: UniformSpatial(retain=share, merge_dropped=True)),
    "evs": _budgeted(lambda share: EVS(retain=share)),
    "coverage": coverage,
    "dycoke-plus in windows": in_windows,
}


def measured(loaded: LoadedModel, dataset: ShapesLong, items: Sequence[Item]) -> dict[str, Any]:
    """The answers about a video, by row, and the seconds of its stages."""
    file, seconds = dataset.file(items[0].video), dict[str, Any]()
    begun = time.perf_counter()
    whole = VideoSession(loaded, read(file, Sampling(fps=FPS)))
    seconds["decode"] = time.perf_counter() - begun
    begun = time.perf_counter()
    features = _features(whole, items[0].question)
    seconds["vision"] = time.perf_counter() - begun
    lines = []
    begun = time.perf_counter()
    shown = VideoSession(loaded, read(file, Sampling(frames=TOKENS // features.shape[1])))
    seconds["uniform, decode"] = time.perf_counter() - begun
    lines += [{"row": "uniform", **line} for line in _answers(shown, items, Method())]
    for row, rule, count in _rows():
        begun = time.perf_counter()
        chosen = Chosen(row=row, selection=rule(features, count), positions="renumbered")
        seconds[f"{row}, selection"] = time.perf_counter() - begun
        lines += [{"row": row, **line} for line in _answers(whole, items, chosen)]
    return {"video": items[0].video, "seconds": seconds, "lines": lines}


def _rows() -> Iterator[tuple[str, Rule, int]]:
    for name, rule in RULES.items():
        yield name, rule, TOKENS


def _answers(
    session: VideoSession, items: Sequence[Item], method: Method
) -> Iterator[dict[str, Any]]:
    for item in items:
        answer = session.ask(item.question, method, max_new_tokens=NEW_TOKENS)
        yield {
            "item": item.id,
            "tokens": answer.tokens.visual_kept,
            "said": answer.answer,
            "right": ShapesLong().score(item, answer.answer).right,
            "vision": round(answer.seconds.vision, 3),
            "prefill": round(answer.seconds.prefill, 4),
            "decode": round(answer.seconds.decode, 4),
        }


def _features(session: VideoSession, question: str) -> torch.Tensor:
    """The visual tokens of a video, as the session encodes it once: `[F, N, D]`."""
    some = Chosen(row="first", selection=Selection(torch.arange(TOKENS)))
    first = bind(some, session.loaded.traits)
    session.encode(Stopwatch(session.loaded.input_device), first)
    (encoded,) = session.prompt(question, (), first, GenerationOptions())().videos
    frames, per_frame = session.video.frames, session.video.tokens_per_frame
    return encoded.embeddings[: frames * per_frame].view(frames, per_frame, -1)


def main() -> None:
    """Ask about the videos that weren't asked about yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", default=OUT, type=type(OUT))
    given = parser.parse_args()
    silence_libraries()
    loaded, dataset, file = load("mini", dtype="float32"), ShapesLong(), given.out
    file.parent.mkdir(parents=True, exist_ok=True)
    done = {line["video"] for line in read_lines(file) if "video" in line}
    if not done:
        header = {"benchmark": dataset.name, "edition": EDITION, "split": "test", "budget": TOKENS}
        header |= {"name": "shipped", "model": loaded.identity}
        append_line(file, header | {"commit": running_commit(), "machine": machine()})
    items = [item for item in dataset.items("test") if item.kind in KINDS]
    by_video = grouped(items, lambda item: item.video)
    of_length = Counter[int]()
    for video in by_video:
        minutes = round(dataset.script(video).seconds / 60)
        of_length[minutes] += 1
        if video not in done and of_length[minutes] <= VIDEOS:
            begun = time.monotonic()
            with torch.inference_mode():
                append_line(file, measured(loaded, dataset, by_video[video]))
            print(f"{video}: {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
