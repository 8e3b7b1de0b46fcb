"""How much memory a batch takes while it goes on: it mustn't grow with the number of clips."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.soaking.rendered import QUESTION

_EVERY_S = 0.5
# What a run may take more of in its last third than in the third before.
_GROWTH = 0.05


@dataclass(frozen=True)
class Sample:
    """A moment."""

    lines: int  # that were written
    bytes: int  # of memory that is resident, and nobody else's, in all processes of the run


def batch(clips: Path, out: Path) -> tuple[int, list[Sample]]:
    """Run `dycoke batch` to its end: its exit code, and its memory all the while."""
    small = ("--batch-size", "8", "--frames", "4", "--max-tokens", "16", "--quiet")
    command = ("-m", "dycoke_cli", "batch", str(clips), QUESTION, "--out", str(out), *small)
    samples = []
    with out.with_suffix(".log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, *command],
            stdout=log,
            stderr=log,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
    while process.poll() is None:
        with suppress(psutil.NoSuchProcess):
            lines = out.read_bytes().count(b"\n") if out.exists() else 0
            samples.append(Sample(lines, own_bytes(process.pid)))
        time.sleep(_EVERY_S)
    return process.returncode, samples


def growth(samples: Sequence[Sample], total: int) -> float:
    """By which share the last third took more than the third before."""
    thirds = [
        [s.bytes for s in samples if begin < s.lines / total <= begin + 1 / 3]
        for begin in (1 / 3, 2 / 3)
    ]
    middle, last = map(statistics.median, thirds)
    return last / middle - 1


def is_flat(samples: Sequence[Sample], total: int) -> bool:
    """Whether that is little."""
    return growth(samples, total) <= _GROWTH


def own_bytes(pid: int) -> int:
    """Bytes of a process and its children that are nobody else's."""
    found = 0
    root = psutil.Process(pid)
    for process in [root, *root.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            known = process.memory_info()
            found += max(0, known.rss - known.shared)
    return found
