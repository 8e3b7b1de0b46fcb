"""The tables of docs/results.md are made of the kept answers."""

import re

import pytest

from benchmarks.page import ROOT
from benchmarks.raw_answers import DATA, SUFFIX
from benchmarks.tune import LADDERS
from benchmarks.tune_tables import read, signals, tables

PAGE = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
TABLE = re.compile(r"<!-- ([\w-]+): .*? -->\n(.*?)\n<!-- /\1 -->", re.DOTALL)


@pytest.mark.slow
@pytest.mark.extended
@pytest.mark.parametrize("model", ["shipped", "control"])
def test_tables_are_made_of_the_answers(model: str) -> None:
    on_page = {name: text for name, text in TABLE.findall(PAGE) if name.endswith(f"-{model}")}
    assert tables(DATA, model, LADDERS) == on_page


@pytest.mark.slow
def test_changed_answers_counted_by_hand() -> None:
    videos = read(DATA / f"tune-shipped{SUFFIX}")
    assert signals(videos, LADDERS) == dict(TABLE.findall(PAGE))["signals-shipped"]
    for rows in videos.values():
        for base, own in zip(rows["none"], rows["dycoke"], strict=True):
            if base.observation.answer == own.observation.answer:
                assert own.observation.same
                assert own.right == base.right
