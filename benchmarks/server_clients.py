"""One server for several clients, against one `dycoke ask` for each question.

Each client asks about a clip of its own turn, one question after the other, and reads the stream.
Prints a Markdown table; `--write FILE` also puts it between the markers in FILE.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import time
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.page import ROOT, put, where

NAME = "clients"
DYCOKE = [sys.executable, "-m", "dycoke_cli"]
CLIPS = [ROOT / "sample_videos" / f"{name}.mp4" for name in ("move", "turn", "appear", "vanish")]
QUESTION = "What happens?"
FRAMES = 16
CLIENTS = (1, 8, 32)

Times = tuple[float, float]
"""Seconds to the first text, and to the end."""


@contextmanager
def server(folder: str) -> Iterator[str]:
    """A server of the bundled model; its address."""
    environment = {**os.environ, "DYCOKE_CACHE": folder, "DYCOKE_RUNTIME": f"{folder}/run"}
    command = [*DYCOKE, "serve", "--port", "0", "--hold", "1", "--frames", str(FRAMES)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=environment) as process:
        assert process.stderr is not None
        lines = iter(process.stderr.readline, b"")
        yield next(m[1].decode() for m in (re.search(rb"at (http\S+)/v1", x) for x in lines) if m)
        process.terminate()


def ask_server(address: str, clip: Path) -> Times:
    """One streamed request, its video in it."""
    data = b64encode(clip.read_bytes()).decode()
    part = {"type": "input_video", "input_video": {"data": data}}
    content = [part, {"type": "text", "text": QUESTION}]
    body = {"messages": [{"role": "user", "content": content}], "stream": True}
    request = urllib.request.Request(
        f"{address}/v1/chat/completions",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    began = time.perf_counter()
    first = None
    with urllib.request.urlopen(request, timeout=600) as reply:
        for line in reply:
            if first is None and b'"content": "' in line and b'"content": ""' not in line:
                first = time.perf_counter() - began
    ended = time.perf_counter() - began
    return ended if first is None else first, ended


def ask_process(clip: Path) -> Times:
    """One `dycoke ask`, which loads the model."""
    command = [*DYCOKE, "ask", str(clip), QUESTION, "--frames", str(FRAMES), "--no-server"]
    began = time.perf_counter()
    with subprocess.Popen(
        [*command, "--quiet"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0
    ) as process:
        assert process.stdout is not None
        process.stdout.read(1)
        first = time.perf_counter() - began
        process.stdout.read()
    return first, time.perf_counter() - began


def row(name: str, ask: Callable[[Path], Times], clients: int, requests: int) -> str:
    """A line of the table: so many clients at once, so many requests together."""
    began = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        times = [*pool.map(ask, (CLIPS[n % len(CLIPS)] for n in range(requests)))]
    rate = requests / (time.perf_counter() - began)
    firsts, ends = zip(*times, strict=True)
    slow = sorted(ends)[max(0, -(-95 * len(ends) // 100) - 1)]
    return (
        f"| {name} | {clients} | {requests} | {rate:.2f} | {statistics.median(firsts):.2f} s "
        f"| {statistics.median(ends):.2f} s | {slow:.2f} s |"
    )


def table(rounds: int) -> str:
    """Measure, and say what was measured where."""
    lines = [
        "| | at once | requests | requests per second | TTFT, median | end, median | end, 95 % |",
        "|---|---|---|---|---|---|---|",
    ]
    with TemporaryDirectory() as folder, server(folder) as address:
        ask_server(address, CLIPS[0])  # what a process does only once
        for clients in CLIENTS:
            requests = max(8, clients) * rounds
            ask: Callable[[Path], Times] = lambda clip: ask_server(address, clip)  # noqa: E731
            lines.append(row("`dycoke serve`", ask, clients, requests))
    ask_process(CLIPS[0])  # reads everything from disk
    lines.append(row("a `dycoke ask` each", ask_process, 1, 4 * rounds))
    lines.append(row("a `dycoke ask` each", ask_process, 2, 4 * rounds))
    notes = (
        f"Bundled model, {FRAMES} frames, one of four clips in turn, sent with each request; "
        "answers are streamed; one video is held in memory, so that nearly each is encoded anew."
    )
    return "\n".join([*lines, "", f"{notes} {where()}"])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3, help="times all requests (default: 3)")
    parser.add_argument("--write", type=Path, help="also write the table into this file")
    arguments = parser.parse_args()
    measured = table(arguments.rounds)
    print(measured)
    if arguments.write is not None:
        put(measured, NAME, arguments.write)


if __name__ == "__main__":
    main()
