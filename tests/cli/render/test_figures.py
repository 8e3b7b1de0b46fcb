"""Tables with figures are whole at any width: as a table, or with their rows below each other."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.text import Text

from dycoke_cli.cli.render.figures import explained, headed, with_texts

CELLS = (
    ("1", "none", "2,345 ms", "–"),
    ("2", "dycoke-plus:retain=0.25:merge_stage=vision", "1,234 ms", "−12.5 ± 0.6"),
)


def shown(width: int) -> str:
    table = with_texts(headed("#", "Method", "Prefill", "Difference"), ("Method",))
    for row in CELLS:
        table.add_row(*map(Text, row))
    file = io.StringIO()
    Console(file=file, width=width).print(explained(table, "What it says."))
    return file.getvalue()


@pytest.mark.parametrize("width", range(30, 130, 5))
def test_no_cell_is_cut(width: int) -> None:
    lines = shown(width).splitlines()
    assert all(len(line) <= width for line in lines)
    found = "".join("".join(lines).split())
    assert "…" not in found
    whole = [cell for row in CELLS for cell in row if len(cell) < 20]  # a longer one may wrap
    for cell in ("Prefill", "Difference", *whole):
        assert any(cell in line for line in lines), cell
    assert "Whatitsays." in found


def test_a_narrow_terminal_has_a_row_below_the_other() -> None:
    assert [line.rstrip() for line in shown(36).splitlines()[:3]] == [
        "1 none:",
        "  Prefill     2,345 ms",
        "  Difference  –",
    ]


def test_a_wide_one_has_a_table() -> None:
    head, _, first, *_ = shown(100).splitlines()
    assert head.split() == ["#", "Method", "Prefill", "Difference"]
    assert first.split() == ["1", "none", "2,345", "ms", "–"]


def test_the_table_of_an_evaluation_fits_80_columns() -> None:
    headings = ("#", "Method", "Accuracy, %", "Difference", "Changed", "Wrong→right", "Right→wrong")
    table = with_texts(headed(*headings), ("Method",))
    spec = "visionzip:retain=0.25:frames_by=question"
    table.add_row("1", spec, "66.7 ± 15.3", "-24.2 ± 12.6", "11", "0", "8")
    file = io.StringIO()
    Console(file=file, width=80).print(table)
    first, *_ = file.getvalue().splitlines()
    assert all(heading in first for heading in headings)
    assert "…" not in file.getvalue()
