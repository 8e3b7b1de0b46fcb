"""The clock is set back while a command runs: nothing waits, is lost or takes less than no time."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.harness import CLIP, ROOT, run_here

SOURCE = ROOT / "src" / "dycoke_cli"
DATES = {
    "evaluation/run_record.py": "date of a run",
    "evaluation/scoring/judge.py": "date of a verdict",
    "models/resolve.py": "whether a file's last change is old",
    "server/chat.py": "`created` of OpenAI's replies",
    "server/responses.py": "`created_at` of OpenAI's responses",
    "server/service.py": "`created` of OpenAI's list of models",
    "storage/cache_folder.py": "time of a file's last use, which is later than all others",
}
"""Files that read the clock, and what for: no duration and no deadline."""
HOUR = 3600.0


def test_the_clock_is_read_for_dates_alone() -> None:
    read = re.compile(r"\b(time\.time(_ns)?|datetime\.(utc)?now|date\.today)\b")
    files = [path for path in SOURCE.rglob("*.py") if read.search(path.read_text("utf-8"))]
    assert {str(path.relative_to(SOURCE)) for path in files} == {*DATES}


def numbers(value: Any) -> Iterator[float]:
    if isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from numbers(one)
    elif isinstance(value, int | float):
        yield value


@pytest.mark.slow
@pytest.mark.usefixtures("samples")
def test_a_clock_that_goes_back_with_each_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DYCOKE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "clips").mkdir()
    for name in ("one.mp4", "two.mp4"):
        shutil.copy(CLIP, tmp_path / "clips" / name)
    looks, begin = itertools.count(), time.time()
    monkeypatch.setattr(time, "time", lambda: begin - HOUR * next(looks))
    monkeypatch.setattr(time, "time_ns", lambda: int(time.time() * 1e9))
    small = ("--frames", "2", "--max-tokens", "2", "--device", "cpu", "--quiet", "--cache")
    out, alone = tmp_path / "answers.jsonl", ("--workers", "1")
    batch = run_here("batch", tmp_path / "clips", "What?", "--out", out, *alone, *small)
    assert (batch.code, batch.err) == (0, "")
    evaluation = ("--limit", "1", "--methods", "none,dycoke", "--out", tmp_path / "eval", "--json")
    scored = run_here("eval", "samples", *evaluation, *alone, *small)
    assert (scored.code, scored.err) == (0, "")
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(lines) == 2
    seconds = [line["seconds"] for line in lines]
    assert min(numbers(seconds)) >= 0
    assert max(numbers(seconds)) < HOUR
    assert all(row["seconds"] >= 0 for row in scored.object["rows"])
