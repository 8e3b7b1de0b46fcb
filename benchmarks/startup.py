"""How long a user waits: for help, for a first answer, and for the sentence about wrong input.

Each is a fresh process, whose processor time is counted with that of all processes below it (on
Linux). Prints a Markdown table; `--write` also puts it into docs/data/tables.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from benchmarks.kept_tables import keep
from benchmarks.page import where

NAME = "startup"
DYCOKE = (sys.executable, "-m", "dycoke_cli")
TYPER = (
    sys.executable,
    "-c",
    "import typer; app = typer.Typer(); [app.command(name)(lambda: 0) for name in 'ab']; app()",
)
"""The smallest program with two commands: Typer and Rich take as long in any other."""

CLIP = "sample_videos/move.mp4"
QUESTION = "What does the blue star do?"
AT_ONCE = 0.5
"""The aim, in seconds, of whatever needs no torch."""
OUT = "OUT"
"""In arguments: a folder of each run's own."""
_SET_CHILD_SUBREAPER = 36  # of prctl(2)


@dataclass(frozen=True)
class Wait:
    """Something that a user waits for."""

    name: str  # in the table
    arguments: tuple[str, ...]  # of the program
    # "end" of the process, its "first byte" on stdout, or "prompt": from its last byte on stdout to
    # its end
    until: str = "end"
    aim: float | None = AT_ONCE  # seconds; None where the time depends on what is asked
    code: int = 0  # exit code
    warm: bool = False  # whether a server of the bundled model runs beside it
    program: tuple[str, ...] = DYCOKE  # its first words
    completes: str = ""  # the command line whose last word a shell completes; empty for none


WAITS = (
    Wait("floor: `--help` of two commands in Typer", ("--help",), program=TYPER),
    Wait("`dycoke --help`", ("--help",)),
    Wait("`dycoke ask --help`", ("ask", "--help")),
    Wait("TAB behind `dycoke`", (), completes="dycoke "),
    Wait("TAB behind `--me` of `dycoke ask`", (), completes="dycoke ask --me"),
    Wait("`dycoke methods`", ("methods",)),
    Wait("`ask`: no such file", ("ask", "nofile.mp4", QUESTION), code=3),
    Wait("`ask`: ratio out of range", ("ask", CLIP, QUESTION, "--merge-ratio", "2"), code=2),
    Wait("`ask`: misspelt model", ("ask", CLIP, QUESTION, "--model", "minni"), code=4),
    Wait("`ask`: misspelt method", ("ask", CLIP, QUESTION, "--method", "dycok"), code=2),
    Wait("`ask`: no such layer", ("ask", CLIP, QUESTION, "--prune-layer", "99"), code=2),
    Wait(
        "`ask`: weights missing, offline",
        ("ask", CLIP, QUESTION, "--model", "llava-onevision-0.5b"),
        code=4,
    ),
    Wait("`probe` of a file", ("probe", CLIP)),
    Wait("`ask --estimate`", ("ask", CLIP, "--estimate", "--model", "llava-onevision-7b")),
    Wait("`ask`: first answer of the bundled model", ("ask", CLIP, QUESTION), aim=3.5),
    Wait("warm `ask`: first token", ("ask", CLIP, QUESTION), "first byte", warm=True),
    Wait("warm `ask`: answer", ("ask", CLIP, QUESTION), aim=None, warm=True),
    Wait("`ask`: from the answer to the prompt", ("ask", CLIP, QUESTION, "--quiet"), "prompt", 0.3),
    Wait("`dycoke demo`, to the first token", ("demo",), "first byte", 10.0),
    Wait(
        "`batch sample_videos --workers 2`",
        ("batch", "sample_videos", QUESTION, "--quiet", "--workers", "2"),
        aim=None,
    ),
    Wait("warm `batch sample_videos`", ("batch", "sample_videos", QUESTION), aim=None, warm=True),
    Wait(
        "`eval shapes --limit 10 --workers 2`",
        ("eval", "shapes", "--limit", "10", "--quiet", "--workers", "2", "--out", OUT),
        aim=None,
    ),
)


def seconds(wait: Wait) -> tuple[float, float]:
    """Run the command, and measure what its user waits for, and its processor time."""
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "out")
        before = _processor_time()
        waited = _waited(wait, [out if word == OUT else word for word in wait.arguments])
        return waited, _processor_time() - before


@contextmanager
def running(warm: bool) -> Iterator[None]:
    """Within the block a server of the bundled model runs, or none is found."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["DYCOKE_RUNTIME"] = f"{folder}/run"
        with ExitStack() as stack:
            stack.callback(os.environ.pop, "DYCOKE_RUNTIME")
            if warm:
                command = [*DYCOKE, "serve", "--port", "0"]
                server = subprocess.Popen(command, stderr=subprocess.PIPE)
                stack.enter_context(server)
                stack.callback(server.terminate)
                assert server.stderr is not None
                while not server.stderr.readline().startswith(b"Serving "):
                    assert server.poll() is None
            yield


def _adopt(orphans: bool) -> None:
    """Whether processes whose parent has ended become children of this one."""
    ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, int(orphans), 0, 0, 0)


def _waited(wait: Wait, arguments: list[str]) -> float:
    command = [*wait.program, *arguments]
    offline = {**os.environ, "HF_HUB_OFFLINE": "1"}
    offline.pop("PYTHONDONTWRITEBYTECODE", None)  # users have compiled modules
    if wait.completes:
        offline |= {
            "_DYCOKE_COMPLETE": "complete_bash",
            "COMP_WORDS": wait.completes,
            "COMP_CWORD": str(wait.completes.count(" ")),
        }
    started = last = time.perf_counter()
    first = None
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0, env=offline
    ) as process:
        assert process.stdout is not None
        while process.stdout.read(1):
            last = time.perf_counter()
            first = last if first is None else first
    ended = time.perf_counter()
    if process.returncode != wait.code:
        raise SystemExit(f"{' '.join(command)} failed: run it by hand to see why")
    if wait.until == "prompt":
        return ended - last
    return (ended if wait.until == "end" or first is None else first) - started


def _processor_time() -> float:
    """Seconds of all processes that were started from here and have ended.

    Those whose parent ended before them, such as the one that workers are forked from, became
    children of this one.
    """
    while True:
        try:
            os.wait()
        except ChildProcessError:
            break
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def table(runs: int) -> str:
    """Measure, and say what was measured where."""
    lines = [
        "| what a user waits for | median | slowest | aim | processor time |",
        "|---|---|---|---|---|",
    ]
    _adopt(True)
    for wait in WAITS:
        with running(wait.warm):
            seconds(wait)  # the first run reads everything from disk
            waited, used = zip(*(seconds(wait) for _ in range(runs)), strict=True)
        aim = "–" if wait.aim is None else f"{wait.aim:g} s"
        lines.append(
            f"| {wait.name} | {statistics.median(waited):.2f} s | {max(waited):.2f} s "
            f"| {aim} | {statistics.median(used):.2f} s |"
        )
    notes = (
        f"{runs} runs of each, fresh processes, after one that warms the disk cache; processor "
        "time: the median, of all processes together."
    )
    return "\n".join([*lines, "", f"{notes} {where()}"])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=5, help="runs of each (default: 5)")
    parser.add_argument("--write", action="store_true", help="also into docs/data/tables")
    arguments = parser.parse_args()
    measured = table(arguments.runs)
    print(measured)
    if arguments.write:
        keep(measured, NAME)


if __name__ == "__main__":
    main()
