"""The rows of all servers and models in one file of `docs/data`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.json_lines import read_lines, write_compressed


def read_rows(file: Path) -> dict[str, list[dict[str, Any]]]:
    """By server and model, as `vllm-mini`; none where there is no file."""
    return _grouped(read_lines(file))


def add_rows(measured: Path, file: Path) -> None:
    """Put what was measured into the file, in place of what it had of those servers and models."""
    groups = read_rows(file) | _grouped(read_lines(measured))
    write_compressed(file, (row for group in sorted(groups) for row in groups[group]))


def _grouped(rows: Iterable[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(f"{row['server']}-{row['model']}", []).append(row)
    return groups
