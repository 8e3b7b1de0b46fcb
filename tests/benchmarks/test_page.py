"""Measured tables get between their markers."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import page

HEAD = "before\n<!-- t: a table per machine, written by `x` -->\n\n<!-- /t -->\nafter\n"


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


def test_each_machine_has_a_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "speed.md"
    file.write_text(HEAD)
    monkeypatch.setattr(page, "usable_cpus", lambda: 2)
    for processor, instruction, measured in (
        ("A", "avx2", "first"),
        ("B", "avx2", "other"),
        ("A", "avx512_bf16", "third"),
        ("A", "avx2", "second"),
    ):
        monkeypatch.setattr(page, "processor_name", lambda name=processor: name)
        monkeypatch.setattr(page, "instructions", lambda name=instruction: ["fma", name])
        page.put_of_machine(measured, "t", file)
    text = file.read_text()
    assert [line for line in text.splitlines() if line and "<!--" not in line] == [
        "before", "second", "other", "third", "after",
    ]  # fmt: skip
    mine = "<!-- t of 2 cores of A (avx2): written by `x` -->"
    assert text.count(mine) == text.count("<!-- /t of 2 cores of A (avx2) -->") == 1


@pytest.mark.parametrize(("number", "told"), [(1, "1 core of A"), (4, "4 cores of A")])
def test_a_processor_without_known_instructions_has_its_name(
    number: int, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "usable_cpus", lambda: number)
    monkeypatch.setattr(page, "processor_name", lambda: "A")
    monkeypatch.setattr(page, "instructions", list)
    assert page.cores() == told
