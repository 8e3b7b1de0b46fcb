"""One server for several clients, against one `dycoke ask` for each question.

Each client asks about a clip of its own turn, one question after the other, and reads the stream.
Prints a Markdown table; `--write FILE` also puts it between the markers in FILE. `--before SRC`
measures the `src` folder of another version in turns with this one.
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
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil

from benchmarks.page import ROOT, put, where

NAME = "clients"
DYCOKE = [sys.executable, "-m", "dycoke_cli"]
CLIPS = [ROOT / "sample_videos" / f"{name}.mp4" for name in ("move", "turn", "appear", "vanish")]
QUESTION = "What happens?"
FRAMES = 16
METHODS = ("none", "dycoke")
# An empty box at the end makes a clip another file, so that no request finds its video encoded.
_DIFFERENT = (b"\0\0\0\x10free%08d" % number for number in count())


@dataclass(frozen=True)
class Load:
    """Clients that ask at once."""

    clients: int  # how many
    methods: tuple[str, ...] = METHODS[:1]  # of their requests, in turn

    @property
    def requests(self) -> int:
        """Of one round: each client asks three times or more, one question after the other."""
        return max(12, 3 * self.clients)


LOADS = (Load(1), Load(8), Load(32), Load(32, METHODS))


@dataclass(frozen=True)
class Reply:
    """One answer: seconds to its first text and to its end, and the text."""

    first_s: float
    end_s: float
    text: str


@dataclass
class Measured:
    """All rounds of a load: its replies, its seconds, and those of the server's processors."""

    replies: list[Reply] = field(default_factory=list)
    seconds: float = 0.0
    cpu_s: float = 0.0

    def row(self, name: str, clients: int, alike: str = "") -> str:
        """A line of the table."""
        firsts = [reply.first_s for reply in self.replies]
        ends = [reply.end_s for reply in self.replies]
        number = len(self.replies)
        # As many requests as clients are under way: a fair share of the time is that of an average
        # request.
        fair = clients * self.seconds / number
        return (
            f"| {name} | {clients} | {number} | {number / self.seconds:.2f} "
            f"| {self.cpu_s / number:.2f} s | {statistics.median(firsts):.2f} s "
            f"| {percentile(firsts):.2f} s | {statistics.median(ends):.2f} s "
            f"| {percentile(ends):.2f} s | {max(ends) / fair:.1f} | {alike} |"
        )


def percentile(times: Sequence[float]) -> float:
    """The smallest time that at least 95 % of them don't exceed."""
    return sorted(times)[-(-95 * len(times) // 100) - 1]


@dataclass(frozen=True)
class Server:
    """A server of the bundled model that runs."""

    address: str  # of its API
    process: psutil.Process  # of the server
    # answers to requests that came alone, by clip and method
    alone: dict[tuple[Path, str], str] = field(default_factory=dict)

    def ask(self, clip: Path, method: str) -> Reply:
        """One streamed request, its video in it."""
        data = b64encode(clip.read_bytes() + next(_DIFFERENT)).decode()
        part = {"type": "input_video", "input_video": {"data": data}}
        content = [part, {"type": "text", "text": QUESTION}]
        body = {
            "messages": [{"role": "user", "content": content}],
            "stream": True,
            "dycoke": {"method": method},
        }
        request = urllib.request.Request(
            f"{self.address}/v1/chat/completions",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        began, first, text = time.perf_counter(), None, ""
        with urllib.request.urlopen(request, timeout=600) as reply:
            for line in reply:
                if line.startswith(b"data: {"):
                    text += _delta(json.loads(line[6:]))
                if first is None and text:
                    first = time.perf_counter() - began
        ended = time.perf_counter() - began
        return Reply(ended if first is None else first, ended, text)

    def cpu_s(self) -> float:
        """Seconds of processor time so far, with those of its processes."""
        times = [self.process.cpu_times(), *(p.cpu_times() for p in self.process.children(True))]
        ended = times[0].children_user + times[0].children_system
        return ended + sum(one.user + one.system for one in times)

    def measure(self, load: Load, into: Measured) -> int:
        """One round of a load; returns how many answers are those of requests that came alone."""
        asked = [
            (CLIPS[n % len(CLIPS)], load.methods[n // len(CLIPS) % len(load.methods)])
            for n in range(load.requests)
        ]
        for one in asked:
            if one not in self.alone:
                self.alone[one] = self.ask(*one).text
        used, began = self.cpu_s(), time.perf_counter()
        with ThreadPoolExecutor(load.clients) as pool:
            replies = [*pool.map(lambda one: self.ask(*one), asked)]
        into.seconds += time.perf_counter() - began
        into.cpu_s += self.cpu_s() - used
        into.replies += replies
        return sum(r.text == self.alone[one] for r, one in zip(replies, asked, strict=True))


def _delta(chunk: dict[str, Any]) -> str:
    return "".join(choice["delta"].get("content") or "" for choice in chunk["choices"])


@contextmanager
def server(source: Path | None, dtype: str) -> Iterator[Server]:
    """A server of the package in a `src` folder, or of the one that is imported here."""
    with TemporaryDirectory() as folder:
        environment = {**os.environ, "DYCOKE_CACHE": folder, "DYCOKE_RUNTIME": f"{folder}/run"}
        if source is not None:
            environment["PYTHONPATH"] = str(source)
        command = [*DYCOKE, "serve", "--port", "0", "--hold", "1", "--frames", str(FRAMES)]
        command += ["--dtype", dtype]
        with subprocess.Popen(command, stderr=subprocess.PIPE, env=environment) as process:
            assert process.stderr is not None
            lines = iter(process.stderr.readline, b"")
            found = (re.search(rb"at (http\S+)/v1", line) for line in lines)
            address = next(match[1].decode() for match in found if match)
            yield Server(address, psutil.Process(process.pid))
            process.terminate()


def ask_process(clip: Path) -> Reply:
    """One `dycoke ask`, which loads the model."""
    command = [*DYCOKE, "ask", str(clip), QUESTION, "--frames", str(FRAMES), "--no-server"]
    command += ["--method", METHODS[0], "--quiet"]
    began = time.perf_counter()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0
    ) as process:
        assert process.stdout is not None
        text = process.stdout.read(1)
        first = time.perf_counter() - began
        text += process.stdout.read()
    return Reply(first, time.perf_counter() - began, text.decode())


def of_processes(clients: int, requests: int) -> Measured:
    """Commands in place of a server."""
    began, used = time.perf_counter(), os.times()
    with ThreadPoolExecutor(clients) as pool:
        replies = [*pool.map(ask_process, (CLIPS[n % len(CLIPS)] for n in range(requests)))]
    ended = os.times()
    cpu_s = ended.children_user + ended.children_system - used.children_user - used.children_system
    return Measured(replies, time.perf_counter() - began, cpu_s)


def table(rounds: int, dtype: str, before: Path | None, processes: bool) -> str:
    """Measure, and describe what was measured where."""
    lines = [
        "| | at once | requests | requests per second | CPU per request | TTFT, median "
        "| TTFT, 95 % | end, median | end, 95 % | longest / fair share | same answers as alone |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    sources = {"`dycoke serve`": None} | ({} if before is None else {"before": before})
    measured = {(name, load): Measured() for load in LOADS for name in sources}
    alike = dict.fromkeys(measured, 0)
    with ExitStack() as stack:
        servers = {
            name: stack.enter_context(server(source, dtype)) for name, source in sources.items()
        }
        for each in servers.values():  # what a process does only once
            each.ask(CLIPS[0], METHODS[0])
        for number in range(rounds):
            for load in LOADS:
                for name in [*servers][:: 1 if number % 2 else -1]:
                    alike[name, load] += servers[name].measure(load, measured[name, load])
    for (name, load), one in measured.items():
        methods = f", {len(load.methods)} methods" if len(load.methods) > 1 else ""
        same = f"{alike[name, load]} of {len(one.replies)}"
        lines.append(one.row(f"{name}{methods}", load.clients, same))
    if processes:
        ask_process(CLIPS[0])  # reads everything from disk
        for clients in (1, 2):
            one = of_processes(clients, 4 * rounds)
            lines.append(one.row("a `dycoke ask` each", clients))
    notes = (
        f"Bundled model, --dtype {dtype}, {FRAMES} frames, {QUESTION!r} about one of four clips in "
        "turn, sent with each request; all answers are streamed, and no video is cached. CPU is "
        "that of the server and its processes. A fair share is clients / requests per second. "
        "Methods: "
        f"{METHODS[0]}, or {' and '.join(METHODS)} by turns. Load average of the machine, other "
        f"work included: {os.getloadavg()[0]:.0f}."
    )
    return "\n".join([*lines, "", f"{notes} {where()}"])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=1, help="times all loads (default: 1)")
    parser.add_argument("--dtype", default="auto", help="of the model (default: auto)")
    parser.add_argument("--before", type=Path, help="src folder of another version, in turns")
    parser.add_argument("--servers-alone", action="store_true", help="no `dycoke ask` processes")
    parser.add_argument("--write", type=Path, help="also write the table into this file")
    arguments = parser.parse_args()
    measured = table(
        arguments.rounds, arguments.dtype, arguments.before, not arguments.servers_alone
    )
    print(measured)
    if arguments.write is not None:
        put(measured, NAME, arguments.write)


if __name__ == "__main__":
    main()
