"""The kept tables are made of the kept answers."""

import pytest

from benchmarks.kept_tables import csv_files, kept_files
from benchmarks.raw_answers import DATA, SUFFIX
from benchmarks.tune_tables import LADDERS, read, signals, tables


@pytest.mark.slow
@pytest.mark.extended
@pytest.mark.parametrize("model", ["shipped", "control"])
def test_tables_are_made_of_the_answers(model: str) -> None:
    for name, text in tables(DATA, model, LADDERS).items():
        assert csv_files(text, name) == kept_files(name)


@pytest.mark.slow
def test_changed_answers_counted_by_hand() -> None:
    videos = read(DATA / f"tune-shipped{SUFFIX}")
    name = "signals-shipped"
    assert csv_files(signals(videos, LADDERS), name) == kept_files(name)
    for rows in videos.values():
        for base, own in zip(rows["none"], rows["dycoke"], strict=True):
            if base.observation.answer == own.observation.answer:
                assert own.observation.same
                assert own.right == base.right
