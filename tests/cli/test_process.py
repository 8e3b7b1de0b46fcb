"""The command as a process: signals, pipes that close, full disks, terminals."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest

from tests import warm
from tests.cli.fake_engine import faking
from tests.cli.harness import CLIP, FAKE, REAL, behind, run_in_terminal, run_process
from tests.marks import EXTENDED
from tests.waiting import until

SLOW = faking(pause_s=0.2)
ASK = ("ask", CLIP, "What?", "--frames", "4", "--model", "mini")
COLOUR = re.compile(rb"\x1b\[[0-9;]*3[0-7][0-9;]*m")
HIDE_CURSOR, SHOW_CURSOR = b"\x1b[?25l", b"\x1b[?25h"


def test_script_is_the_command() -> None:
    script = Path(sys.executable).with_name("dycoke")
    if not script.exists():
        pytest.skip("the package isn't installed beside this Python")
    assert run_process([str(script)], "--version").out.startswith("dycoke ")


def test_terminal_sees_progress_then_the_answer_then_a_line() -> None:
    code, seen, _ = run_in_terminal(SLOW, *ASK, environment={})
    assert code == 0
    assert re.search(rb"Encoding frame [1-4]/4", seen)
    # The progress line is gone before the first word, and the words come one after the other.
    progress, _, rest = seen.rpartition(SHOW_CURSOR)
    assert HIDE_CURSOR in progress
    assert rest.lstrip(b"\r\x1b[2K1A").startswith(b"a red circle moves right\r\n")
    answer, figures = rest.index(b"moves right"), rest.index(b" visual tokens dropped")
    assert answer < figures
    assert rest[figures:].count(b"\r\n") == 1
    assert rest.endswith(b"shows more\x1b[0m\r\n")
    assert b"Generating" not in seen


def test_answer_streams_and_an_interrupt_keeps_what_came() -> None:
    answer = "a red circle " + "and on " * 200 + "end"
    code, seen, _ = run_in_terminal(
        faking(pause_s=0.2, answer=answer), *ASK, environment={}, interrupt_after=b"circle"
    )
    assert code == 130
    # What had come stays, on a line of its own; what hadn't never comes.
    assert b"a red circle" in seen
    assert b"end" not in seen
    assert seen.replace(b"\r\n", b"\n").endswith(b"\nInterrupted\n")
    assert b"Traceback" not in seen


@pytest.mark.extended
def test_comparison_in_a_terminal_says_what_it_waits_for() -> None:
    code, seen, _ = run_in_terminal(SLOW, *ASK, "--compare", environment={})
    assert code == 0
    answer, comparing = seen.index(b"moves right\r\n"), seen.index(b"Baseline: ")
    assert answer < comparing < seen.index(b"Visual tokens") < seen.index(b"KV cache in use")
    assert re.search(rb"Baseline: Generating: [1-5] token", seen)


def test_stdout_piped_from_a_terminal_has_the_answer_and_no_escape_code() -> None:
    code, seen, piped = run_in_terminal(SLOW, *ASK, streams="err", environment={})
    assert (code, piped) == (0, b"a red circle moves right\n")
    assert re.search(rb"Generating: [2-5] tokens, [\d.]+ tokens/s", seen)
    assert not re.search(rb"tokens/s +\S*\d:\d\d", seen)  # which no bar could know


def test_stderr_piped_has_no_escape_code() -> None:
    code, seen, piped = run_in_terminal(FAKE, *ASK, streams="out", environment={})
    assert (code, seen) == (0, b"a red circle moves right\r\n")
    assert b"\x1b" not in piped
    assert b"visual tokens dropped" in piped


@pytest.mark.parametrize("flags", [(), pytest.param(("--quiet",), marks=EXTENDED)])
def test_a_terminal_that_can_draw_nothing_anew_says_that_it_loads(flags: tuple[str, ...]) -> None:
    code, seen, _ = run_in_terminal(SLOW, *ASK, *flags, environment={"TERM": "dumb"})
    first, *rest = seen.splitlines()
    assert code == 0
    assert b"\x1b" not in seen
    if flags:
        assert (first, rest) == (b"a red circle moves right", [])
    else:
        assert (first, rest[0]) == (b"Loading the model", b"a red circle moves right")
        assert len(rest) == 2


@pytest.mark.extended
def test_no_color_is_kept() -> None:
    _, seen, _ = run_in_terminal(SLOW, *ASK, "--stats", environment={"NO_COLOR": "1"})
    assert not COLOUR.search(seen)
    assert b"Visual tokens" in seen


def test_interrupt_while_working_is_one_word() -> None:
    code, seen, piped = run_in_terminal(
        SLOW, *ASK, "--json", streams="err", environment={}, interrupt_after=b"Encoding"
    )
    assert code == 130
    assert b'"code": "interrupted"' in piped
    assert seen.rstrip().endswith(b"Interrupted")
    assert SHOW_CURSOR in seen


def test_interrupt_while_libraries_are_imported_ends_it_at_once(tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text("print('begun', flush=True); import time; time.sleep(60)")
    pipe, environment = subprocess.PIPE, {**os.environ, "PYTHONPATH": str(tmp_path)}
    with subprocess.Popen([*REAL, "--help"], stdout=pipe, stderr=pipe, env=environment) as process:
        assert process.stdout.readline() == b"begun\n"
        process.send_signal(signal.SIGINT)
        assert (*process.communicate(timeout=30), process.returncode) == (b"", b"", 130)


def test_reader_that_leaves_hears_nothing() -> None:
    pipe = subprocess.PIPE
    process = warm.Popen([*SLOW, *map(str, ASK)], stdout=pipe, stderr=pipe)
    assert process.stdout.read(1) == b"a"
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(timeout=30) == 141  # as of a program that SIGPIPE ends


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
@pytest.mark.parametrize("flags", [[], pytest.param(["--json"], marks=EXTENDED)])
def test_full_disk(flags: list[str]) -> None:
    with open("/dev/full", "wb") as full:
        done = warm.run(
            [*FAKE, *map(str, ASK), *flags],
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert done.returncode == 6
    assert done.stderr.startswith(b"Error: standard output can't be written (No space left")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGKILL, pytest.param(signal.SIGHUP, marks=EXTENDED)]
)
def test_termination_leaves_no_temporary_file(tmp_path: Path, number: int) -> None:
    process = warm.Popen(
        [*FAKE, "ask", "-", "What?"],
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    process.stdin.write(CLIP.read_bytes())
    process.stdin.flush()
    until(lambda: spooling(process.pid, tmp_path))
    process.send_signal(number)
    assert process.wait(timeout=30) in (128 + number, -signal.SIGKILL)
    process.stdin.close()
    assert list(tmp_path.iterdir()) == []


HELD = """
import time
from dycoke_cli.cli import app, main

def prepare():
    print("begun", flush=True)
    while True:
        try:
            time.sleep(60)
        except SystemExit:
            pass

app.prepare = prepare
main.run()
"""


def test_termination_ends_what_catches_it() -> None:
    """As a library may, or an operation that computes for long."""
    process = warm.Popen([sys.executable, "-c", HELD, "demo"], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"begun\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 128 + signal.SIGTERM
    process.stdout.close()


def spooling(pid: int, folder: Path) -> bool:
    """Whether a process has a file open in a folder that has no name there."""
    with suppress(FileNotFoundError):
        open_files = [os.readlink(file) for file in Path(f"/proc/{pid}/fd").iterdir()]
        return any(f.startswith(str(folder)) and f.endswith("(deleted)") for f in open_files)
    return False


CONTROLLED = "import fcntl, termios\nfcntl.ioctl(1, termios.TIOCSCTTY, 0)"
IGNORING = "import signal\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)"


def of_a_terminal() -> tuple[subprocess.Popen[bytes], int]:
    """The command with a terminal of its own; it has begun to answer."""
    terminal, slave = pty.openpty()
    process = warm.Popen(
        [*behind(CONTROLLED, SLOW), *map(str, ASK)],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env={**os.environ, "TERM": "xterm"},
        start_new_session=True,
    )
    os.close(slave)
    seen = b""
    while b"Encoding" not in seen:
        seen += os.read(terminal, 65536)
    return process, terminal


def test_a_hang_up_leaves_the_terminal_as_it_was() -> None:
    process, terminal = of_a_terminal()
    process.send_signal(signal.SIGHUP)
    seen = b""
    with suppress(OSError):  # the terminal's way to say that nobody writes to it any more
        while data := os.read(terminal, 65536):
            seen += data
    os.close(terminal)
    assert process.wait(timeout=30) == 128 + signal.SIGHUP
    assert seen.rindex(SHOW_CURSOR) > seen.find(HIDE_CURSOR)
    assert b"Error" not in seen


def test_a_terminal_that_is_closed_ends_it_in_order() -> None:
    process, terminal = of_a_terminal()
    os.close(terminal)  # the system sends the signal, and the terminal takes nothing any more
    assert process.wait(timeout=30) == 128 + signal.SIGHUP


def test_nohup_is_heeded() -> None:
    process = warm.Popen(
        [*behind(IGNORING, SLOW), *map(str, ASK)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout.read(2) == b"a "
    process.send_signal(signal.SIGHUP)
    assert process.communicate(timeout=30)[0] == b"red circle moves right\n"
    assert process.returncode == 0


# As with PYTHONIOENCODING=ascii.
PLAIN = """
import sys
sys.stdout.reconfigure(encoding="ascii", errors="strict")
sys.stderr.reconfigure(encoding="ascii")
"""


def test_output_in_a_locale_that_knows_no_accents() -> None:
    run = run_process(behind(PLAIN, faking(answer="déjà vu 🎈")), *ASK)
    assert (run.code, run.out) == (0, "d\\xe9j\\xe0 vu \\U0001f388\n")
    assert "visual tokens dropped" in run.err


def test_name_with_a_dash_and_a_newline() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "-a b\n\x1b[2J🎈.mp4"
        path.write_bytes(CLIP.read_bytes())
        done = warm.run(
            [*FAKE, "ask", "--json", "--model", "mini", "--", path.name, "What?"],
            cwd=folder,
            capture_output=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"-a b\\n\\u001b[2J\\ud83c\\udf88.mp4" in done.stdout
