"""A file whose read never returns, as on a disk that has gone: every command ends.

A library that is loaded into all processes (LD_PRELOAD) blocks each read of one file, by its inode.
So a command that reads it in its own process, where nothing ends the read, would hang.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.harness import CLIP, REAL

pytestmark = [
    pytest.mark.extended,
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="LD_PRELOAD of Linux"),
    pytest.mark.skipif(shutil.which("cc") is None, reason="no compiler"),
]
# The inode is in a variable that isolated processes get, too.
BLOCKING = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static int stalls(int file) {
    const char *inode = getenv("LD_STALLED_INODE");
    struct stat about;
    return inode && !fstat(file, &about) && about.st_ino == strtoull(inode, 0, 10);
}

ssize_t read(int file, void *buffer, size_t count) {
    static ssize_t (*next)(int, void *, size_t);
    if (!next) next = dlsym(RTLD_NEXT, "read");
    while (stalls(file)) sleep(1000);
    return next(file, buffer, count);
}
"""
LIMIT_S, ENOUGH_S = 3, 120
MINI = ("--model", "mini", "--device", "cpu", "--frames", "2")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Of processes that can't read stall.mp4."""
    source, library = tmp_path / "blocking.c", tmp_path / "blocking.so"
    source.write_text(BLOCKING)
    build = ["cc", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"]
    subprocess.run(build, check=True)
    clips = tmp_path / "clips"
    clips.mkdir()
    for name in ("1.mp4", "stall.mp4", "2.mp4"):
        shutil.copy(CLIP, clips / name)
    with (clips / "stall.mp4").open("ab") as file:
        file.write(bytes(2 * 1024**2))
    inode = (clips / "stall.mp4").stat().st_ino
    return {**os.environ, "LD_PRELOAD": str(library), "LD_STALLED_INODE": str(inode)}


def ended(environment: dict[str, str], folder: Path, *arguments: str) -> tuple[int, str]:
    """Exit code and stderr of a command, which ends soon."""
    done = subprocess.run(
        [*REAL, *arguments, "--time-limit", str(LIMIT_S)],
        env=environment,
        cwd=folder,
        text=True,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=ENOUGH_S,
        check=False,
    )
    return done.returncode, done.stderr


def test_the_library_stalls_a_read(environment: dict[str, str], tmp_path: Path) -> None:
    command = ["head", "-c", "1", str(tmp_path / "clips" / "stall.mp4")]
    with pytest.raises(subprocess.TimeoutExpired):
        subprocess.run(command, env=environment, timeout=1)
    subprocess.run([*command[:-1], str(tmp_path / "clips" / "1.mp4")], env=environment, check=True)


@pytest.mark.parametrize(
    "arguments",
    [
        ("ask", "clips/stall.mp4", "What?", *MINI),
        ("ask", "clips/stall.mp4", "What?", *MINI, "--estimate"),
        ("ask", "clips/stall.mp4", "What?", *MINI, "--every", "1s"),
        ("ask", "clips/stall.mp4", "A star moves", *MINI, "--when"),
        ("ask", "clips/stall.mp4", "What?", *MINI, "--cache"),
        ("ask", "clips/1.mp4", "What?", *MINI, "--subtitles", "clips/stall.mp4"),
        ("chat", "clips/stall.mp4", *MINI),
        ("inspect", "clips/stall.mp4", "What?", *MINI, "--out", "page.html"),
        ("probe", "clips/stall.mp4", "--frames", "2"),
        ("bench", "clips/stall.mp4", *MINI),
    ],
    ids=lambda arguments: " ".join(arguments[:1] + arguments[-2:]),
)
def test_a_command_about_it_ends(
    environment: dict[str, str], tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    code, err = ended(environment, tmp_path, *arguments)
    assert code == 3, err
    assert f"stall.mp4 isn't decoded after {LIMIT_S} s" in err


def test_a_batch_goes_on_with_the_others(environment: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "answers.jsonl"
    batch = ("batch", "clips", "What?", *MINI, "--out", str(out))
    code, err = ended(environment, tmp_path, *batch)
    assert code == 1, err
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert {Path(line["video"]).name: "error" in line for line in lines} == {
        "1.mp4": False,
        "2.mp4": False,
        "stall.mp4": True,
    }
    assert f"stall.mp4 isn't read after {LIMIT_S} s" in err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_batch_that_reads_it(
    environment: dict[str, str], tmp_path: Path, number: signal.Signals
) -> None:
    arguments = ("batch", "clips/stall.mp4", "What?", *MINI, "--out", "answers.jsonl")
    command = [*REAL, *arguments, "--time-limit", str(10 * ENOUGH_S)]
    with subprocess.Popen(
        command, env=environment, cwd=tmp_path, stderr=subprocess.PIPE
    ) as process:
        try:
            time.sleep(10)
            assert process.poll() is None
            process.send_signal(number)
            process.communicate(timeout=10)
        finally:
            process.kill()
    assert process.returncode in (128 + number, -number)
