"""The rows of all models in one file of `docs/data`: JSON Lines, compressed with xz."""

from __future__ import annotations

import json
import lzma
from pathlib import Path
from typing import Any

from benchmarks.json_lines import read_lines


def read_rows(file: Path) -> dict[str, list[dict[str, Any]]]:
    """By model; none where there is no file."""
    if not file.exists():
        return {}
    models: dict[str, list[dict[str, Any]]] = {}
    with lzma.open(file, "rt") as lines:
        for row in map(json.loads, lines):
            models.setdefault(row["model"], []).append(row)
    return models


def add_rows(measured: Path, file: Path) -> None:
    """Put what was measured into the file, in place of what it had of those models."""
    new = [*read_lines(measured)]
    models = read_rows(file) | {row["model"]: [] for row in new}
    for row in new:
        models[row["model"]].append(row)
    rows = [row for model in sorted(models) for row in models[model]]
    text = "".join(f"{json.dumps(row)}\n" for row in rows)
    file.write_bytes(lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME))
