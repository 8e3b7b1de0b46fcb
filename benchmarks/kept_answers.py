"""Measurements whose answers are kept in docs/data, with a table per kept file."""

from __future__ import annotations

import argparse
import lzma
from collections.abc import Callable, Sequence

from benchmarks.kept_tables import DATA, keep
from dycoke_cli.evaluation.scoring.statistics import clustered_mean

SUFFIX = ".jsonl.xz"


def report(kind: str, table: Callable[[bytes], str]) -> None:
    """The command line of a kind whose answers aren't measured anew."""
    parser = argparse.ArgumentParser(description=f"the tables of docs/data/{kind}-*{SUFFIX}")
    parser.add_argument("--write", action="store_true", help="into docs/data/tables")
    write_tables(kind, table, parser.parse_args().write)


def write_tables(kind: str, table: Callable[[bytes], str], write: bool) -> None:
    """Print the tables of the kept answers of a kind, and keep them if `write`."""
    for file in sorted(DATA.glob(f"{kind}-*{SUFFIX}")):
        text = table(lzma.decompress(file.read_bytes()))
        print(text)
        if write:
            keep(text, file.name.removesuffix(SUFFIX))


def shown(values: Sequence[float], digits: int, clusters: Sequence[str] = ()) -> str:
    """A mean ± its standard error over clusters; by default each value is one."""
    mean, error = clustered_mean(values, clusters or [*map(str, range(len(values)))])
    return "–" if mean is None else f"{mean:.{digits}f} ± {error or 0:.{digits}f}".replace("-", "−")
