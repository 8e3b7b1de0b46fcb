"""A file whose read never returns: a server ends it at its limit, and a signal ends a command.

Of real processes, whose `read` sleeps once a file of that size is read for the third time.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.harness import REAL, ROOT
from tests.waiting import until

PATIENCE_S = 240
ENDS_S = 30
CODE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/stat.h>
#include <unistd.h>
static ssize_t (*stock)(int, void *, size_t);
static int reads;
ssize_t read(int file, void *to, size_t count) {
    struct stat of;
    if (!stock) stock = dlsym(RTLD_NEXT, "read");
    /* Known by its size: a sealed process has neither its name nor /proc. */
    if (!fstat(file, &of) && S_ISREG(of.st_mode) && of.st_size == STALL && reads++ > 2)
        for (;;) sleep(1000);
    return stock(file, to, count);
}
"""

pytestmark = [
    pytest.mark.extended,
    pytest.mark.slow,
    pytest.mark.skipif(
        sys.platform != "linux" or shutil.which("cc") is None,
        reason="needs cc",
    ),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the two videos, and the library."""
    folder = tmp_path_factory.mktemp("stalling")
    clip = (ROOT / "sample_videos" / "move.mp4").read_bytes()
    (folder / "move.mp4").write_bytes(clip)
    # Of more than is read at once.
    stall = clip + b"\0\0\0\x08free" * 400_000
    (folder / "stall.mp4").write_bytes(stall)
    (folder / "code.c").write_text(CODE)
    command = ["cc", f"-DSTALL={len(stall)}", "-shared", "-fPIC", "-o", "slow.so", "code.c", "-ldl"]
    subprocess.run(command, cwd=folder, check=True)
    return folder


@pytest.fixture(scope="module")
def environment(place: Path) -> Iterator[dict[str, str]]:
    """That of commands which find a server; its decoders stall, and they don't."""
    names = {"DYCOKE_CACHE": "cache", "DYCOKE_RUNTIME": "run"}
    own = {**os.environ, **{name: str(place / at) for name, at in names.items()}}
    with (place / "stderr").open("wb") as errors:
        process = subprocess.Popen(
            [*REAL, "serve", "--port", "0", "--model", "mini"],
            cwd=ROOT,
            stderr=errors,
            env={**own, "LD_PRELOAD": str(place / "slow.so")},
        )
    try:
        until(lambda: re.search(r"http://[\d.]+:\d+/v1", (place / "stderr").read_text()))
        yield own
    finally:
        process.kill()
        process.wait()


def test_it_ends_at_its_limit(place: Path, environment: dict[str, str]) -> None:
    """And costs the other videos of a run nothing."""
    flags = ("--frames", "2", "--max-tokens", "2", "--time-limit", "3")
    for command, code in (("ask", 3), ("batch", 1)):
        videos = ["stall.mp4", "move.mp4"][: 1 + (command == "batch")]
        began = time.monotonic()
        done = subprocess.run(
            [*REAL, command, *videos, "What happens?", *flags],
            cwd=place,
            env={**environment, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert done.returncode == code, done.stderr
        assert "stall.mp4" in done.stderr
        assert "--time-limit" in done.stderr
        assert "without your server" not in done.stderr
        assert time.monotonic() - began < ENDS_S + 3
        if command == "batch":
            assert done.stdout.count('"answer"') == done.stdout.count('"error"') == 1


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM], ids=str)
def test_a_signal_ends_a_command_that_reads_it(
    place: Path, environment: dict[str, str], sent: signal.Signals
) -> None:
    """`batch` hashes each file itself."""
    out = place / f"{sent.name}.jsonl"
    command = ["batch", "move.mp4", "stall.mp4", "What?", "--frames", "2", "--out", str(out)]
    process = subprocess.Popen(
        [*REAL, *command],
        cwd=place,
        env={**environment, "PYTHONPATH": str(ROOT), "LD_PRELOAD": str(place / "slow.so")},
        stderr=subprocess.PIPE,
    )
    until(lambda: out.exists() and b"\n" in out.read_bytes(), PATIENCE_S)
    began = time.monotonic()
    process.send_signal(sent)
    process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 128 + sent
    assert time.monotonic() - began < ENDS_S
    assert out.read_bytes().count(b"\n") == 1
