"""A small fuzz; `python -m tests.fuzz` is the large one."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzzing.subjects import SUBJECTS

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_first_cases_of_each_kind_end_well(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.fuzz", "--share", "0.008", "--place", str(tmp_path)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    lines = run.stdout.splitlines()
    assert len(lines) == len(SUBJECTS)
    assert sum(int(count) for count in re.findall(r"(\d+) (?:answer|refused)", run.stdout)) > 400
    assert all(re.search(r"[1-9]\d* answer", line) for line in lines), (
        "not even the seeds are answered"
    )
