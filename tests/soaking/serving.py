"""A server under the worst that its limits allow: large bodies, and idle and slow connections.

Beside them `/health` and questions are asked, and memory is measured.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import multiprocessing
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dycoke_cli.video.limits import MAX_ENTRIES
from tests.soaking.memory import own_bytes
from tests.video.clips import Recipe, with_edits, write_coded
from tests.waiting import until

CHAT = "/v1/chat/completions"
CLIP = Path(__file__).parents[2] / "sample_videos" / "move.mp4"
QUESTION = "What does the blue star do?"
HEALTH_S = 0.5
"""In which `/health` is to answer, 99 times of 100."""
MOST_BYTES = 500 * 10**6
"""By which the memory of the server may grow over what it has after its first answer."""
_MIB = 1024**2
_BODY_MIB = 64  # --body-limit
_PATIENCE_S, _STARTING_S = 120.0, 600.0
_EVERY_S = 0.25
_STARTS_PER_S = 200.0
# Of this machine; each has a share of the connections. Elsewhere than on Linux there is the first.
_ADDRESSES = ["127.0.0.1"] + [f"127.0.0.{n}" for n in range(2, 6)] * (sys.platform == "linux")
_JSON_HEAD = {"Host": "localhost", "Content-Type": "application/json"}

_ITSELF = {"$ref": "#/$defs/tree"}
SCHEMAS: dict[str, dict[str, Any]] = {
    "tree": {
        "$defs": {
            "tree": {
                "anyOf": [
                    {"type": "object", "properties": {"a": _ITSELF, "b": _ITSELF}},
                    {"type": "object", "properties": {"c": _ITSELF}, "required": ["c"]},
                    {"type": "integer"},
                ]
            }
        },
        "type": "object",
        "properties": {f"p{number}": _ITSELF for number in range(20)},
        "required": [f"p{number}" for number in range(20)],
    },
    "long text": {"type": "string", "minLength": 300_000_000},
    "multiples": {"type": "number", "multipleOf": 999_983},
    "patterns": {
        "type": "object",
        "patternProperties": {f"^(a|b)*{n}$": {"type": "integer"} for n in range(300)},
    },
    "one part of many": {
        "type": "object",
        "$defs": {f"d{number}": {"type": "string"} for number in range(1200)},
        "properties": {f"p{number}": {"type": "integer"} for number in range(1200)}
        | {"z": {"not": {}}},
    },
    "surrogate": {"type": "object", "properties": {"\ud800": {"type": "integer"}}},
}
"""Schemas that once took a server hours or gigabytes, or ended its reply."""


@dataclass
class Figures:
    """What was measured."""

    health_s: list[float] = field(default_factory=list)  # seconds of each request for `/health`
    # likewise, of each question that was answered
    answer_s: list[float] = field(default_factory=list)
    # of the bodies, by kind and status; 0 is a closed connection
    statuses: Counter[tuple[str, int]] = field(default_factory=Counter)
    waiting: int = 0  # idle and slow connections that were opened
    # bytes of the server's own memory, the first ones before anybody else came
    memory: list[int] = field(default_factory=list)
    wrong: int = 0  # answers that differ from the first
    # requests for `/health` that were made again, since the server closed the connection
    closed: int = 0

    @property
    def grown(self) -> int:
        """Bytes by which memory was above the first, at most."""
        return max(self.memory) - self.memory[0]

    def text(self) -> str:
        """The figures, in lines."""
        by_kind: dict[str, list[str]] = {}
        for (kind, status), count in sorted(self.statuses.items()):
            by_kind.setdefault(kind, []).append(f"{count} × {status or 'closed'}")
        half = len(self.memory) // 2
        return "\n".join(
            [
                f"/health: {_times(self.health_s)}; {self.closed} made again",
                f"answers: {_times(self.answer_s)}",
                *(f"{kind}: {', '.join(counts)}" for kind, counts in by_kind.items()),
                f"idle and slow connections: {self.waiting}",
                f"memory: {self.memory[0] / 1e6:.0f} MB, then {self.grown / 1e6:+.0f} MB at most; "
                f"median of the halves {statistics.median(self.memory[: half + 1]) / 1e6:.0f} and "
                f"{statistics.median(self.memory[half:]) / 1e6:.0f} MB",
            ]
        )

    def faults(self) -> list[str]:
        """What isn't as it should be."""
        found = []
        if quantile(self.health_s, 0.99) > HEALTH_S:
            found.append(f"/health took more than {HEALTH_S:g} s: {_times(self.health_s)}")
        if self.grown > MOST_BYTES:
            found.append(f"memory grew by {self.grown / 1e6:.0f} MB")
        if not self.answer_s or self.wrong:
            found.append(f"{len(self.answer_s)} questions were answered, {self.wrong} otherwise")
        # A fast machine opens the edit list in time.
        answered = {(name, 200) for name, _ in self.statuses if name != "edit list"}
        if odd := [key for key in self.statuses if key in answered or key[1] >= 500]:
            found.append(f"bodies ended oddly: {odd}")
        return found


def quantile(values: Sequence[float], share: float) -> float:
    """The value that so large a share of them is at most."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _times(seconds: Sequence[float]) -> str:
    if not seconds:
        return "none"
    marks = ", ".join(f"p{100 * q:g} {quantile(seconds, q):.3f}" for q in (0.5, 0.99))
    return f"{len(seconds)}, {marks}, most {max(seconds):.3f} s"


def worst_bodies() -> dict[str, bytes]:
    """Bodies at the limits: of bytes, of values, of depth, of videos, of text."""
    video = b"A" * (_BODY_MIB * _MIB - 4096)
    message = b'{"messages": [{"role": "user", "content": [%s]}]}'
    part = b'{"type": "video_url", "video_url": {"url": "%s"}}, {"type": "text", "text": "a"}'
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder, "clip.mp4")
        write_coded(clip, Recipe(frames=12))
        # Just below the most entries of an index: it takes all of the time to open a video.
        edits = b64encode(with_edits(clip, MAX_ENTRIES // 12 - 1))
    jpegs = b",".join([b64encode(b"\xff\xd8\xff" + bytes(90))] * 19_990)
    return {
        "values": message % (b"[]," * 19_000 + b"1"),
        "keys": b"{%s}" % b",".join(b'"%d":{}' % number for number in range(6_000)),
        "depth": message % (b"[" * 9_000 + b"]" * 9_000),
        "text": message % (b'{"type": "text", "text": "%s"}' % (b"a " * (_MIB // 2 - 100))),
        "escapes": message % (b'{"type": "text", "text": "%s"}' % (b"\\u0041" * (_MIB // 6 - 100))),
        "video": message % (part % (b"data:video/mp4;base64," + video)),
        "edit list": message % (part % (b"data:video/mp4;base64," + edits)),
        "pictures": message % (part % (b"data:video/jpeg;base64," + jpegs)),
        "numbers": message % (b"1e308," * 9_000 + b"1" * 4_000),
        **{f"schema, {kind}": _with_schema(schema) for kind, schema in SCHEMAS.items()},
    }


def _with_schema(schema: dict[str, Any]) -> bytes:
    message = {"role": "user", "content": QUESTION}
    return json.dumps({"messages": [message], "structured_outputs": {"json": schema}}).encode()


@contextmanager
def server(place: Path) -> Iterator[tuple[int, int]]:
    """A server with the bundled model; gives its port and its process id."""
    command = [sys.executable, "-m", "dycoke_cli", "serve", "--port", "0", "--frames", "4"]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "DYCOKE_CACHE": str(place / "cache"),
        "DYCOKE_RUNTIME": tempfile.mkdtemp(prefix="dycoke-soak-"),
    }
    with (place / "serve.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--body-limit", str(_BODY_MIB)], stderr=log, env=environment
        )
    try:
        yield _port(process, place / "serve.log"), process.pid
    finally:
        process.terminate()
        try:
            process.wait(_PATIENCE_S)
        finally:
            process.kill()


def _port(process: subprocess.Popen[bytes], log: Path) -> int:
    def found() -> re.Match[str] | None:
        assert process.poll() is None, f"the server didn't start: {log.read_text()}"
        return re.search(r"Serving mini at http://127\.0\.0\.1:(\d+)/", log.read_text())

    return int(until(found, _STARTING_S, "the server")[1])


def request(
    port: int, method: str, path: str, body: bytes | None = None, address: str = _ADDRESSES[0]
) -> tuple[int, bytes]:
    """A request to the server, from an address of this machine: status and content."""
    connection = http.client.HTTPConnection(
        "127.0.0.1", port, timeout=_PATIENCE_S, source_address=(address, 0)
    )
    try:
        connection.request(method, path, body, _JSON_HEAD if body else {})
        reply = connection.getresponse()
        return reply.status, reply.read()
    finally:
        connection.close()


def ask(port: int) -> str:
    """A question about a clip, and its answer."""
    part = {"type": "input_video", "input_video": {"data": b64encode(CLIP.read_bytes()).decode()}}
    content = [part, {"type": "text", "text": QUESTION}]
    body = json.dumps({"messages": [{"role": "user", "content": content}], "max_tokens": 16})
    status, reply = request(port, "POST", CHAT, body.encode())
    if status != 200:
        raise OSError(f"{status}: {reply[:200]!r}")
    return str(json.loads(reply)["choices"][0]["message"]["content"])


def soak_server(place: Path, seconds: float, clients: int, waiting: int) -> Figures:
    """Run a server for so long."""
    place.mkdir(parents=True, exist_ok=True)
    figures = Figures()
    with server(place) as (port, pid):
        expected = ask(port)
        figures.memory.append(own_bytes(pid))
        over = threading.Event()

        def answered() -> None:
            begun = time.monotonic()
            # 429: bodies take all the room that videos have
            with suppress(OSError, http.client.HTTPException):
                figures.wrong += ask(port) != expected
                figures.answer_s.append(time.monotonic() - begun)

        def healthy() -> None:
            begun, status = time.monotonic(), 0
            while status != 200:
                try:
                    status, _ = request(port, "GET", "/health")
                except (OSError, http.client.HTTPException):
                    figures.closed += 1
            figures.health_s.append(time.monotonic() - begun)

        def measured() -> None:
            figures.memory.append(own_bytes(pid))

        bodies = list(worst_bodies().items())
        works = [
            *(_again(over, work, _EVERY_S) for work in (healthy, measured, answered)),
            *(_sender(over, port, bodies[n % len(bodies) :] + bodies[: n % len(bodies)], figures)
              for n in range(clients)),
        ]  # fmt: skip
        processes = multiprocessing.get_context("spawn")
        left, opened = processes.Event(), processes.Value("q", 0)
        idle = processes.Process(target=_wait_idly, args=(left, port, waiting, opened))
        idle.start()
        threads = [threading.Thread(target=work) for work in works]
        for thread in threads:
            thread.start()
        over.wait(seconds)
        over.set()
        left.set()
        for each in (*threads, idle):
            each.join()
        figures.waiting = opened.value
        assert ask(port) == expected
    return figures


def _again(over: threading.Event, work: Callable[[], None], pause_s: float) -> Callable[[], None]:
    def run() -> None:
        while not over.wait(pause_s):
            work()

    return run


def _sender(
    over: threading.Event, port: int, bodies: Sequence[tuple[str, bytes]], figures: Figures
) -> Callable[[], None]:
    """What sends bodies, each to its end, and counts how they end."""

    def send(kind: str, body: bytes) -> None:
        try:
            status, _ = request(port, "POST", CHAT, body, _ADDRESSES[-1])
        except (OSError, http.client.HTTPException):
            status = 0
        figures.statuses[kind, status] += 1

    def run() -> None:
        while not over.is_set():
            for kind, body in bodies:
                if not over.is_set():
                    send(kind, body)

    return run


def _wait_idly(over: Any, port: int, count: int, opened: Any) -> None:
    """Keep connections open that send nothing, half a header, or a body byte by byte.

    In a process of its own, since so many would slow down what is measured in this one.
    """
    begun = [
        b"",
        b"GET /health HTTP/1.1\r\nHost: loc",
        b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: 100000\r\n\r\n[" % CHAT.encode(),
    ]

    async def once(kind: int) -> None:
        address = _ADDRESSES[(1 + kind) % len(_ADDRESSES)]
        reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))
        opened.value += 1
        writer.write(begun[kind])
        end = asyncio.ensure_future(reader.read())
        while kind == 2 and not end.done():
            await asyncio.wait([end], timeout=1)
            writer.write(b" ")
        await end
        writer.close()

    async def wait(number: int) -> None:
        await asyncio.sleep(number / _STARTS_PER_S)
        while True:
            with suppress(OSError):
                await once(number % 3)
            await asyncio.sleep(count / _STARTS_PER_S)

    async def all_of_them() -> None:
        tasks = [asyncio.ensure_future(wait(number)) for number in range(count)]
        while not over.is_set():
            await asyncio.sleep(0.1)
        for task in tasks:
            task.cancel()

    asyncio.run(all_of_them())
