"""What is answered from a capped KV cache, by each rule of eviction, at equal tokens.

`python -m benchmarks.capped_cache --model runs/long-kept --name long` asks about the two-minute
videos of `shapes-long` (test split), at one frame per second: 512 visual tokens left of all that
the language model reads, by each rule. Beside it the same number of tokens of uniform frames, of
the pool of `--max-tokens`, and all tokens. Its flags are those of `long_answers`; the table is in
docs/long-video.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.long_answers import Measurement, answers, run, windowed_session
from benchmarks.page import ROOT
from benchmarks.shapes_long_rules import TOKENS
from benchmarks.shapes_long_tables import (
    ALL_TOKENS,
    SUFFIX,
    by_kind,
    compared,
    footer,
    read_measured,
)
from dycoke_cli.compression.base import Method
from dycoke_cli.compression.bound import BASELINE
from dycoke_cli.compression.eviction import EVICTIONS, CacheLimit
from dycoke_cli.engine.session import VideoSession
from dycoke_cli.evaluation.dataset import Item
from dycoke_cli.evaluation.datasets.shapes_long import FPS, LENGTHS_S, ShapesLong
from dycoke_cli.models.load import LoadedModel
from dycoke_cli.video import Sampling, read

KIND, UNIFORM = "capped-cache", "uniform frames"


def sessions(loaded: LoadedModel, video: Any) -> Iterator[tuple[str, VideoSession]]:
    """By row: the video as it is asked about."""
    frames = TOKENS // 16
    yield UNIFORM, VideoSession(loaded, read(video, Sampling(frames=frames)))
    whole = read(video, Sampling(fps=FPS))
    yield ALL_TOKENS, VideoSession(loaded, whole)
    limits: dict[str, dict[str, Any]] = {
        "pool": {"max_tokens": TOKENS, "contiguous": True},
        "pool, original positions": {"max_tokens": TOKENS},
    }
    limits |= {f"cache, {rule}": {"cache_limit": CacheLimit(TOKENS, rule)} for rule in EVICTIONS}
    for row, limit in limits.items():
        yield row, windowed_session(loaded, BASELINE, whole, **limit)


def measured(
    loaded: LoadedModel, dataset: ShapesLong, items: Sequence[Item]
) -> Iterator[dict[str, Any]]:
    """The lines of a video: the answers of each row."""
    for row, session in sessions(loaded, dataset.file(items[0].video)):
        yield from answers(row, session, items, Method())


def tables(data: Path) -> str:
    """Rows by rule, columns by kind of question, of every model that was measured."""
    made = []
    for file in sorted(data.glob(f"{KIND}-*{SUFFIX}")):
        one = read_measured(file, UNIFORM)
        made.append("\n".join([*compared(one, by_kind(one)), "", footer(one)]))
    return "\n\n".join(made)


MEASUREMENT = Measurement(
    KIND, measured, tables, KIND, ROOT / "docs" / "long-video.md", lengths_s=LENGTHS_S[:1]
)

if __name__ == "__main__":
    run(MEASUREMENT, __doc__)
