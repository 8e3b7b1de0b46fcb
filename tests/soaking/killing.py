"""Runs `dycoke batch` to its end, killing it on the way."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

QUESTION = "How many objects are there?"
FAILURES_STAND = 1
# In bfloat16, the default on some processors, a near tie is settled by what else is in the batch.
DTYPE = "float32"
_POLL_S = 0.02
# A run may be killed while it starts, too: within so many seconds.
_STARTING_S = 8.0


@dataclass(frozen=True)
class Command:
    """The command that is soaked."""

    folder: Path  # of the clips
    engine: str  # "local"
    log: Path  # where stdout and stderr go
    popen: Callable[..., subprocess.Popen[bytes]] = subprocess.Popen  # starts it

    def start(self, out: Path) -> subprocess.Popen[bytes]:
        """Start it in a session of its own."""
        arguments = [str(self.folder), QUESTION, "--engine", self.engine, "--out", str(out)]
        # Small, so that a kill finds some done and some not.
        small = ["--batch-size", "8", "--frames", "4", "--max-new-tokens", "16", "--quiet"]
        small += ["--dtype", DTYPE]
        with self.log.open("ab") as log:
            return self.popen(
                [sys.executable, "-m", "dycoke_cli", "batch", *arguments, *small],
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )

    def finish(self, out: Path, watch: Callable[[int], None] = lambda pid: None) -> int:
        """Run it to its end; return its exit code."""
        process = self.start(out)
        while process.poll() is None:
            watch(process.pid)
        return process.returncode


def lines_in(out: Path) -> int:
    """How many lines are whole."""
    return out.read_bytes().count(b"\n") if out.exists() else 0


def kill_again_and_again(command: Command, out: Path, total: int, kills: int, seed: int) -> int:
    """Start it and kill it at random moments, so many times, spread over its work."""
    rng = random.Random(seed)
    done = 0
    for left in range(kills, 0, -1):
        process = command.start(out)
        before = lines_in(out)
        wanted = before + int(rng.random() * (total - before) / (left + 1))
        delay = rng.random() * (_STARTING_S if wanted == before else 0.2)
        while process.poll() is None and lines_in(out) <= wanted and wanted > before:
            time.sleep(_POLL_S)
        time.sleep(delay)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            done += 1
        process.wait()
    return done


def lines_of(out: Path) -> Sequence[bytes]:
    """All lines."""
    return out.read_bytes().splitlines()
