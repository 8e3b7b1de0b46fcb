"""`dycoke serve` as a process of its own, with the bundled model."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests import warm
from tests.cli.harness import REAL, ROOT
from tests.waiting import until

PATIENCE_S = 240
MINI = ("--port", "0", "--model", "mini")


@contextmanager
def serving(
    folder: Path, flags: Sequence[str] = MINI, **environment: str
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A server: its URL, and its process, which is killed at the end.

    Args:
        folder: for all that it keeps, and what it writes to `stderr`.
    """
    names = {"DYCOKE_CACHE": "cache", "DYCOKE_RUNTIME": "run"}
    own = {**os.environ, **{name: str(folder / at) for name, at in names.items()}, **environment}
    log = folder / "stderr"
    with log.open("wb") as errors:
        process = warm.Popen([*REAL, "serve", *flags], cwd=ROOT, stderr=errors, env=own)
    try:
        address = re.compile(r"Serving mini at (http://[\d.:]+/v1)")
        yield until(lambda: address.search(log.read_text()), PATIENCE_S, "the server")[1], process
    finally:
        process.kill()
        process.wait(PATIENCE_S)
