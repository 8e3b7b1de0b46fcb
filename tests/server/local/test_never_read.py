"""A file whose read never returns: a signal ends a command.

Of a real process, whose `read` sleeps once a file of that size is read for the third time.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.harness import REAL, ROOT
from tests.server.real import PATIENCE_S, serving
from tests.waiting import until

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
    pytest.mark.skipif(sys.platform != "linux" or shutil.which("cc") is None, reason="needs cc"),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the two videos, the library, and what a server keeps."""
    folder = tmp_path_factory.mktemp("stalling")
    clip = (ROOT / "sample_videos" / "move.mp4").read_bytes()
    (folder / "move.mp4").write_bytes(clip)
    # Of more than is read at once.
    stall = clip + b"\0\0\0\x08free" * 400_000
    (folder / "stall.mp4").write_bytes(stall)
    (folder / "code.c").write_text(CODE)
    command = ["cc", f"-DSTALL={len(stall)}", "-shared", "-fPIC", "-o", "slow.so", "code.c", "-ldl"]
    subprocess.run(command, cwd=folder, check=True)
    with serving(folder):
        yield folder


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM], ids=str)
def test_a_signal_ends_a_command_that_reads_it(place: Path, sent: signal.Signals) -> None:
    """`batch` hashes each file itself."""
    out = place / f"{sent.name}.jsonl"
    command = ["batch", "move.mp4", "stall.mp4", "What?", "--frames", "2", "--out", str(out)]
    own = {"PYTHONPATH": ROOT, "LD_PRELOAD": place / "slow.so"}
    own |= {"DYCOKE_CACHE": place / "cache", "DYCOKE_RUNTIME": place / "run"}
    environment = {**os.environ, **{name: str(value) for name, value in own.items()}}
    process = subprocess.Popen(
        [*REAL, *command], cwd=place, env=environment, stderr=subprocess.PIPE
    )
    until(lambda: out.exists() and b"\n" in out.read_bytes(), PATIENCE_S)
    began = time.monotonic()
    process.send_signal(sent)
    process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 128 + sent
    assert time.monotonic() - began < ENDS_S
    assert out.read_bytes().count(b"\n") == 1
