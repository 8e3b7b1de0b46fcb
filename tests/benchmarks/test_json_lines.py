"""Files of measurements: half a line, left by a killed run, spoils no other."""

from __future__ import annotations

from pathlib import Path

from benchmarks.json_lines import append_line, read_lines


def test_half_a_line_spoils_no_other(tmp_path: Path) -> None:
    file = tmp_path / "lines.jsonl"
    assert [*read_lines(file)] == []
    append_line(file, {"a": "é"})
    with file.open("a") as opened:
        opened.write('{"torn')
    append_line(file, {"b": 2})
    append_line(file, {"c": 3})
    assert [*read_lines(file)] == [{"a": "é"}, {"b": 2}, {"c": 3}]
    assert file.read_bytes().count(b"\n") == 4
