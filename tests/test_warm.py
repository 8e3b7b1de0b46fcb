"""What is forked from a warm process does what a process of `subprocess` does."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from tests import warm
from tests.limits import processor_time

ROOT = Path(__file__).parents[1]
ABOUT = """
import os, sys, tempfile, threading
main = sys.modules["__main__"]
spec = main.__spec__ and main.__spec__.name
print(__name__, spec, sys.argv[1:], os.getcwd(), sys.stdin.read())
print(os.environ.get("ONE"), tempfile.gettempdir(), os.getsid(0) == os.getpid())
for s in (sys.stdin, sys.stdout, sys.stderr):
    print(s.encoding, s.errors, s.isatty(), s.line_buffering, s.write_through, type(s.buffer))
print(os.path.realpath(sys.path[0] or os.curdir), [*os.listdir("/proc/self/fd")][3:4])
print(os.getpgid(0) == os.getpid(), file=sys.stderr)
threading.Thread(target=lambda: print("a thread")).start()
import atexit; atexit.register(print, "at exit")
sys.exit({leaving})
"""
LEAVING = ["None", "0", "7", "'a sentence'"]


@pytest.fixture(params=["module", "code", "file"])
def about(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], list[str]]:
    def command(leaving: str) -> list[str]:
        code = ABOUT.replace("{leaving}", leaving)
        file = tmp_path / "about.py"
        file.write_text(code)
        ways = {"module": ["-m", "about"], "code": ["-c", code], "file": [str(file)]}
        return [sys.executable, *ways[request.param], "--flag", "word"]

    return command


@pytest.mark.parametrize(("leaving", "unbuffered"), [*((one, "") for one in LEAVING), ("0", "1")])
def test_all_that_a_program_can_see(
    leaving: str, unbuffered: str, about: Callable[[str], list[str]], tmp_path: Path
) -> None:
    (tmp_path / "temporary").mkdir()
    environment = {**os.environ, "ONE": "1", "TMPDIR": str(tmp_path / "temporary")}
    environment["PYTHONUNBUFFERED"] = unbuffered
    how: dict[str, Any] = {"cwd": tmp_path, "env": environment, "capture_output": True}
    how |= {"input": "typed", "text": True, "start_new_session": True}
    expected = subprocess.run(about(leaving), check=False, **how)
    done = warm.run(about(leaving), **how)
    assert (done.returncode, done.stdout, done.stderr) == (
        expected.returncode,
        expected.stdout,
        expected.stderr,
    )
    assert "a thread\nat exit\n" in done.stdout


def test_it_begins_with_torch_and_the_command_and_without_the_engine() -> None:
    code = """
import sys
from dycoke_cli import engine, runs
names = "cli.main", "engine.session", "runs.run"
print([f"dycoke_cli.{name}" in sys.modules for name in names])
print("torch" in sys.modules, hasattr(engine, "session"), hasattr(runs, "local"))
"""
    done = warm.run([sys.executable, "-c", code], capture_output=True)
    assert done.stdout == b"[True, False, False]\nTrue False False\n"


WORKERS = """
import sys
import tests.test_warm
from dycoke_cli.processes.worker import Worker
sys.path.insert(0, "here")
print("not written twice", end="")
worker = Worker(tests.test_warm.tell, preload=["dycoke_cli.runs.results"])
print(worker.receive())
"""


def tell(connection: Connection) -> None:
    """How many modules of ours the process has that this one was forked from, and more of it."""
    ours = {name for name in sys.modules if name.startswith("dycoke_cli.")}
    connection.send(("torch" in sys.modules, "dycoke_cli.runs.results" in ours,
                     "dycoke_cli.cli.main" in ours, "here" in sys.path))  # fmt: skip


def test_what_workers_are_forked_from_is_forked_with_the_libraries_alone() -> None:
    done = warm.run([sys.executable, "-c", WORKERS], capture_output=True, cwd=ROOT)
    assert done.stderr == b""
    assert done.stdout == b"not written twice(True, True, False, True)\n"


def test_one_that_is_fresh_imports_the_package_itself_and_from_another_path(tmp_path: Path) -> None:
    (tmp_path / "only_here.py").touch()
    code = "import sys, only_here; print('torch' in sys.modules, 'dycoke_cli' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = warm.run([sys.executable, "-c", code], fresh=True, env=environment, capture_output=True)
    assert (done.stdout, done.stderr) == (b"True False\n", b"")
    elsewhere = warm.run([sys.executable, "-c", code], capture_output=True)
    assert b"ModuleNotFoundError" in elsewhere.stderr


def test_an_exception_is_shown_and_is_the_exit_code() -> None:
    done = warm.run([sys.executable, "-c", "1 / 0"], capture_output=True)
    assert done.returncode == 1
    assert done.stderr.startswith(b"Traceback")
    assert done.stderr.endswith(b"ZeroDivisionError: division by zero\n")


def test_it_is_a_child_whose_time_is_counted() -> None:
    spinning = "import time\nwhile time.process_time() < 0.5: pass"
    before = processor_time()
    with warm.Popen([sys.executable, "-c", f"{spinning}\nimport os; print(os.getppid())"],
                    stdout=subprocess.PIPE) as process:  # fmt: skip
        assert process.stdout is not None
        assert int(process.stdout.read()) == os.getpid()
    assert processor_time() - before > 0.3


def test_signals_of_a_terminal_are_heard() -> None:
    code = "import signal; print([signal.getsignal(n) for n in (signal.SIGINT, signal.SIGHUP)])"
    handlers = [signal.default_int_handler, signal.SIG_DFL]
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        done = warm.run([sys.executable, "-c", code], capture_output=True, text=True)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert done.stdout == f"{handlers}\n"


def test_signals_reach_it() -> None:
    code = "import time; print('here', flush=True); time.sleep(60)"
    for number in (signal.SIGTERM, signal.SIGKILL):
        process = warm.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        assert process.poll() is None
        process.send_signal(number)
        assert process.wait(10) == -number
        process.stdout.close()
    begin = time.monotonic()
    with pytest.raises(subprocess.TimeoutExpired):
        warm.run([sys.executable, "-c", code], timeout=0.3)
    assert time.monotonic() - begin < 30


def test_a_terminal_is_one() -> None:
    code = """
import sys
for stream in (sys.stdin, sys.stdout, sys.stderr):
    print(stream.isatty(), stream.line_buffering, stream.write_through)
"""
    seen = []
    for start in (subprocess.Popen, warm.Popen):
        terminal, slave = pty.openpty()
        process = start([sys.executable, "-c", code], stdin=slave, stdout=slave, stderr=slave)
        assert process.wait(30) == 0
        os.close(slave)
        seen.append(os.read(terminal, 1000))
        os.close(terminal)
    assert seen[1] == seen[0]
    assert seen[0].count(b"True") >= 3


@pytest.mark.parametrize(
    ("command", "how"),
    [
        (["sh", "-c", "echo $ONE"], {}),
        ("echo $ONE", {"shell": True}),
        ([sys.executable, "-I", "-c", "import os; print(os.environ['ONE'])"], {}),
        ([sys.executable, "-c", "import os; print(os.environ['ONE'])"], {"preexec_fn": os.setsid}),
        ([sys.executable, "-c", "import os; print(os.environ['ONE'])"], {"env": {"HF_HOME": "x"}}),
    ],
)
def test_what_cannot_be_forked_is_started(command: Any, how: dict[str, Any]) -> None:
    how["env"] = {**os.environ, "ONE": "1", **how.pop("env", {})}
    if isinstance(command, list):
        command = [
            *command[:-1],
            command[-1].replace("print(", "import sys; print('torch' in sys.modules or "),
        ]
    assert warm.run(command, capture_output=True, **how).stdout == b"1\n"
