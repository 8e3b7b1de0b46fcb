"""The kept table about the search of `--when` is what its command prints today."""

from __future__ import annotations

from benchmarks.kept_tables import csv_files, kept_files
from benchmarks.when_search import NAME, Faultless, is_found, table
from dycoke_cli.runs.time_search import TimeSearch


def test_the_kept_table_is_that_of_today() -> None:
    assert csv_files(table(), NAME) == kept_files(NAME)


def test_what_counts_as_found() -> None:
    search, event = TimeSearch(0.0, 80.0, 10.0), (31.0, 36.0)
    assert is_found(search, Faultless([event], whole=False))
    assert not is_found(search, Faultless([event, (37.0, 41.0)], whole=False))

    class Late(Faultless):
        def yes(self, start: float, end: float) -> float:
            return super().yes(start - 1, end - 1)

    assert not is_found(search, Late([event], whole=False))
