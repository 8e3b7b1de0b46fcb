"""The tables of peers are those of the kept answers; memory that was given back doesn't count."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.kept_tables import csv_files, kept_files
from benchmarks.peers import made_again


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux")
def test_the_peak_counts_from_when_it_was_forgotten() -> None:
    """In a process of its own: memory of earlier tests may be freed meanwhile."""
    code = """
from benchmarks.resident import forget_peak, peak
held = bytearray(b"x") * 200_000_000
del held
forget_peak()
before = peak()
held = bytearray(b"x") * 100_000_000
print(peak() - before)
"""
    grown = int(
        subprocess.check_output(
            [sys.executable, "-c", code], cwd=Path(__file__).parents[2], text=True
        )
    )
    assert 80_000_000 < grown < 150_000_000


def test_the_kept_tables_are_those_of_the_answers() -> None:
    for name, text in made_again().items():
        assert csv_files(text, name) == kept_files(name)
