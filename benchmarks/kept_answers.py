"""Measurements whose answers are kept in docs/data, with a table per kept file."""

from __future__ import annotations

import lzma
from collections.abc import Callable, Sequence

from benchmarks.kept_tables import DATA
from dycoke_cli.evaluation.scoring.statistics import shown_mean

SUFFIX = ".jsonl.xz"


def tables_of(kind: str, table: Callable[[bytes], str]) -> dict[str, str]:
    """The tables of the kept answers of a kind, by name."""
    return {
        file.name.removesuffix(SUFFIX): table(lzma.decompress(file.read_bytes()))
        for file in sorted(DATA.glob(f"{kind}-*{SUFFIX}"))
    }


def shown(values: Sequence[float], digits: int, clusters: Sequence[str] = ()) -> str:
    """A mean with its ± over clusters (`cells.PLUS_MINUS`); by default each value is one."""
    mean, error = shown_mean(values, clusters or [*map(str, range(len(values)))])
    return "–" if mean is None else f"{mean:.{digits}f} ± {error or 0:.{digits}f}".replace("-", "−")
