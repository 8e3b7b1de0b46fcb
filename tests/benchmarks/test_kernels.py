"""The benchmark of kernels: its table, and its place in the page beside those of other machines."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import kernels

HEAD = "before\n<!-- kernels: a table per machine -->\n\n<!-- /kernels -->\nafter\n"


def test_a_gain_stands_behind_each_time() -> None:
    rows = {"a": {"stock": 10.0, "packed": 4.0}, "b": {"stock": 1.0, "packed": 2.0}}
    assert kernels.table("layer", rows).splitlines()[2:] == [
        "| a | 10 | 4 (2.5x) |",
        "| b | 1 | 2 (0.5x) |",
    ]


def test_each_machine_has_a_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "speed.md"
    page.write_text(HEAD)
    monkeypatch.setattr(kernels, "PAGE", page)
    kernels.put_machine("first", "kernels of A")
    kernels.put_machine("other", "kernels of B")
    kernels.put_machine("second", "kernels of A")
    text = page.read_text()
    assert [line for line in text.splitlines() if line and "<!--" not in line] == [
        "before", "second", "other", "after",
    ]  # fmt: skip
    assert text.count("<!-- kernels of A: ") == text.count("<!-- /kernels of A -->") == 1


def test_the_error_of_eight_bits_is_small() -> None:
    for plain, outliers in kernels.errors().values():
        assert 0.001 < plain < 0.015
        assert plain < outliers < 0.06
