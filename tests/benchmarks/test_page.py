"""Measured tables get between their markers."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import page


def test_a_table_takes_the_place_of_the_last_one(tmp_path: Path) -> None:
    file = tmp_path / "speed.md"
    file.write_text("a\n<!-- t: written by `x` -->\nold\n<!-- /t -->\nb\n")
    page.put("new", "t", file)
    assert file.read_text() == "a\n<!-- t: written by `x` -->\nnew\n<!-- /t -->\nb\n"


def test_a_page_without_the_place_is_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "speed.md"
    file.write_text("nothing\n")
    with pytest.raises(SystemExit, match="has no place for the table: <!-- t: … --> … <!-- /t -->"):
        page.put("new", "t", file)
    assert file.read_text() == "nothing\n"
