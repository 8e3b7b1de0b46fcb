"""How long a user waits: `dycoke --help`, and the first token of `dycoke demo`.

Each is a fresh process, measured from its start: the help until it ends, the demo until its first
byte on stdout. Prints a Markdown table; `--write FILE` also puts it between the markers in FILE.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.page import put, where

NAME = "startup"
DYCOKE = [sys.executable, "-m", "dycoke_cli"]


def seconds_to_end(command: list[str]) -> float:
    """Seconds from the start of a process to its end."""
    started = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started


def seconds_to_first_byte(command: list[str]) -> float:
    """Seconds from the start of a process to the first byte on its stdout."""
    started = time.perf_counter()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0
    ) as process:
        assert process.stdout is not None
        first = process.stdout.read(1)
        seconds = time.perf_counter() - started
        process.stdout.read()
    if not first or process.returncode:
        raise SystemExit(f"{' '.join(command)} failed: run it by hand to see why")
    return seconds


def table(runs: int) -> str:
    """Measure, and say what was measured where."""
    rows = [
        ("`dycoke --help`, to its end", seconds_to_end, [*DYCOKE, "--help"], 0.5),
        ("`dycoke demo`, to the first token", seconds_to_first_byte, [*DYCOKE, "demo"], 10.0),
    ]
    lines = [
        "| from the start of the process | median | slowest | aim |",
        "|---|---|---|---|",
    ]
    for name, measure, command, aim in rows:
        measure(command)  # the first run reads everything from disk
        taken = [measure(command) for _ in range(runs)]
        lines.append(
            f"| {name} | {statistics.median(taken):.2f} s | {max(taken):.2f} s | {aim:g} s |"
        )
    return "\n".join([*lines, "", f"{runs} runs after one that warms the disk cache. {where()}"])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=5, help="runs of each (default: 5)")
    parser.add_argument("--write", type=Path, help="also write the table into this file")
    arguments = parser.parse_args()
    measured = table(arguments.runs)
    print(measured)
    if arguments.write is not None:
        put(measured, NAME, arguments.write)


if __name__ == "__main__":
    main()
