"""`dycoke batch` as a process: interrupts, kills, pipes that close, full disks, terminals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests import warm
from tests.cli.harness import PATIENCE_S, REAL, ROOT, behind, run_in_terminal, run_process
from tests.runs.pretended import make_clips, valid
from tests.waiting import until, until_gone

PRETENDING = [sys.executable, "-m", "tests.runs.pretended"]
MINI = ("--model", "mini", "--device", "cpu")
FULL = "from resource import RLIMIT_FSIZE, setrlimit\nsetrlimit(RLIMIT_FSIZE, (4096, 4096))"


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    return make_clips(tmp_path / "clips", *(f"{number}.mp4" for number in range(20)))


def start(*arguments: str | Path, stdout: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
    return warm.Popen(
        [*PRETENDING, "batch", *map(str, arguments), *MINI],
        cwd=ROOT,
        stdout=stdout,
        stderr=subprocess.PIPE,
    )


def wait_for_lines(path: Path, count: int) -> None:
    until(lambda: path.exists() and len(path.read_text().splitlines()) >= count)


def videos(path: Path) -> list[str]:
    return [Path(valid(json.loads(line))["video"]).name for line in path.read_text().splitlines()]


def test_an_interrupt_finishes_what_is_under_way(clips: Path, tmp_path: Path) -> None:
    out = tmp_path / "results.jsonl"
    process = start(clips, "What?", "--out", out)
    wait_for_lines(out, 4)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    assert 4 <= (done := len(videos(out))) < 20
    assert err.decode().splitlines() == [
        "Ending after the answers under way; Ctrl-C again ends at once",
        f"{done} of 20 questions done (in {out}); the same command resumes",
        "Interrupted",
    ]
    assert len(videos(out)) % 2 == 0  # two come in one go


def test_what_is_killed_goes_on_where_it_was(clips: Path, tmp_path: Path) -> None:
    out = tmp_path / "results.jsonl"
    for lines in (2, 8):
        process = start(clips, "What?", "--out", out)
        wait_for_lines(out, lines)
        process.kill()
        process.wait()
        process.stderr.close()
    before = videos(out)
    process = start(clips, "What?", "--out", out)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, err
    assert videos(out)[: len(before)] == before
    assert sorted(videos(out)) == sorted(path.name for path in clips.iterdir())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_termination_leaves_whole_lines(clips: Path, tmp_path: Path, number: int) -> None:
    out = tmp_path / "results.jsonl"
    process = start(clips, "What?", "--out", out)
    wait_for_lines(out, 1)
    process.send_signal(number)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 128 + number
    assert 0 < len(videos(out)) < 20
    assert err.decode().endswith(f" of 20 questions done (in {out}); the same command resumes\n")


def children(pid: int) -> set[int]:
    """The processes that it started, those of its threads among them."""
    return {
        int(child)
        for path in Path(f"/proc/{pid}/task").glob("*/children")
        for child in path.read_text().split()
    }


@pytest.mark.extended
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="there is no /proc here")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_termination_ends_the_decoders(number: int) -> None:
    process = warm.Popen(
        [
            *(*REAL, "batch", str(ROOT / "sample_videos"), "What?", "--quiet", *MINI),
            *("--frames", "2", "--max-tokens", "2"),
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    process.stdout.readline()
    decoders = children(process.pid)
    assert decoders
    os.killpg(process.pid, number)  # as a terminal does
    process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 128 + number
    until_gone(*decoders)


def test_a_reader_that_leaves_hears_nothing(clips: Path) -> None:
    process = start(clips, "What?", "--quiet", stdout=subprocess.PIPE)
    assert process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(timeout=PATIENCE_S) == 141


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_full_disk_behind_stdout(clips: Path) -> None:
    with open("/dev/full", "wb") as full:
        process = start(clips, "What?", stdout=full.fileno())
        _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 6
    assert err.startswith(b"Error: standard output can't be written (No space left")
    assert len(err.splitlines()) == 1


def test_a_full_disk_behind_the_file(clips: Path, tmp_path: Path) -> None:
    out = tmp_path / "results.jsonl"
    run = run_process(behind(FULL, PRETENDING), "batch", clips, "What?", "--out", out, *MINI)
    assert run.code == 6
    assert f"\nError: {out} can't be written (File" in run.err
    assert 0 < len(videos(out)) < 20
    assert out.read_bytes().endswith(b"}\n")


def test_a_terminal_sees_how_far_it_is(clips: Path) -> None:
    code, seen, lines = run_in_terminal(
        PRETENDING, "batch", clips, "What?", *MINI, streams="err", environment={}
    )
    assert code == 0
    assert len(lines.splitlines()) == 20
    assert "4 of 20 questions · 0 failed · ".encode() in seen
    assert b"tokens/s" in seen
    assert b" left" in seen
    assert seen.replace(b"\r", b"").rstrip().endswith(b"20 clips answered\x1b[0m")


def test_a_terminal_gets_text(clips: Path) -> None:
    code, seen, _ = run_in_terminal(
        PRETENDING, "batch", clips, "What?", *MINI, streams="out", environment={}
    )
    assert code == 0
    assert seen.count(b".mp4: What? What? indeed\r\n") == 20
    assert b"schema" not in seen
