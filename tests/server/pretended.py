"""A server in this process whose model only pretends: answers are as slow as wanted."""

from __future__ import annotations

import http.client
import json
import tempfile
import threading
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from dycoke_cli.compression.method import Method
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.loop.local_engine import Engine
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.request import Request
from dycoke_cli.server.access import read_keys
from dycoke_cli.server.lifetime import Address, ConnectionLimits, make_server, run
from dycoke_cli.server.limits import Admission, Allowance
from dycoke_cli.server.local.unix_socket import ENVIRONMENT, LocalListener
from dycoke_cli.server.media import Media
from dycoke_cli.server.metrics import Metrics
from dycoke_cli.server.request_body import BodyLimits
from dycoke_cli.server.service import Service
from dycoke_cli.video.sampling import Sampling
from tests.cli.fake_engine import PATIENCE_S, Fake
from tests.loop.asking import engine_of
from tests.waiting import until

if TYPE_CHECKING:
    import openai

BODY_LIMIT = 200_000
CHAT = "/v1/chat/completions"
HEAD = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
"""The beginning of a request, as a socket sends it."""
VIDEO = "data:video/mp4;base64,AAAA"


def ample() -> Allowance:
    """As much as any test takes."""
    return Allowance(PATIENCE_S, 2**40)


@dataclass
class Running:
    """The server, and how to talk to it."""

    port: int
    pretended: Fake
    service: Service

    def request(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        try:
            connection.request(method, path, body, {"Content-Type": "application/json", **headers})
            reply = connection.getresponse()
            return reply.status, {k.lower(): v for k, v in reply.getheaders()}, reply.read()
        finally:
            connection.close()

    def ask(self, question: str, url: str | None = VIDEO, **more: Any) -> tuple[int, Any]:
        status, _, body = self.request("POST", CHAT, body_of(question, url, **more))
        return status, json.loads(body)

    def client(self) -> openai.OpenAI:
        """OpenAI's client of it, to be closed."""
        import openai

        url = f"http://127.0.0.1:{self.port}/v1"
        return openai.OpenAI(base_url=url, api_key="none", max_retries=0)

    def metric(self, name: str) -> float:
        lines = self.request("GET", "/metrics")[2].decode().splitlines()
        return float(next(line for line in lines if line.startswith(f"dycoke_{name} ")).split()[1])

    def wait_for(self, name: str, value: float) -> None:
        until(lambda: self.metric(name) == value, PATIENCE_S, f"{name} of {value}")


def body_of(question: str, url: str | None = VIDEO, **more: Any) -> bytes:
    content: list[dict[str, Any]] = [{"type": "text", "text": question}]
    if url is not None:
        content.insert(0, {"type": "video_url", "video_url": {"url": url}})
    return json.dumps({"messages": [{"role": "user", "content": content}], **more}).encode()


def message(body: bytes) -> bytes:
    """A whole request, as a socket sends it."""
    return f"{HEAD}Content-Length: {len(body)}\r\n\r\n".encode() + body


@contextmanager
def served(
    service: Service,
    key: str = "",
    idle_s: float | None = None,
    connections: ConnectionLimits | None = None,
    origins: frozenset[str] = frozenset(),
) -> Iterator[int]:
    """Within the block a server runs; gives its port. Commands find it, too."""
    address = Address("127.0.0.1", 0, read_keys(key), origins)
    local = LocalListener(warnings.warn)
    server = make_server(service, address, connections or ConnectionLimits())

    def serve() -> None:
        with closing(local):
            run(server, service, listening, local, idle_s)

    with address.bind() as listening:
        port = listening.getsockname()[1]
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield port
        finally:
            server.should_exit = True
            thread.join(PATIENCE_S)
            assert not thread.is_alive()


DEFAULTS = Request("mini", LoadOptions(), Sampling(frames=8), Method(), GenerationOptions())


def make_service(engine: Engine, metrics: Metrics, **more: Any) -> Service:
    """A service within the limits of tests."""
    options: dict[str, Any] = {
        "defaults": DEFAULTS,
        "media": Media(),
        "admission": Admission(64, 4 * BODY_LIMIT, metrics),
        "most_frames": 32,
        "bodies": BodyLimits(BODY_LIMIT),
        **more,
    }
    return Service(engine=engine, metrics=metrics, **options)


@contextmanager
def running(
    monkeypatch: pytest.MonkeyPatch,
    *,
    queue: int = 64,
    key: str = "",
    idle_s: float | None = None,
    connections: ConnectionLimits | None = None,
    origins: frozenset[str] = frozenset(),
    **more: Any,
) -> Iterator[Running]:
    pretended, metrics = Fake().install(monkeypatch, videos=True), Metrics()
    service = make_service(
        engine_of(pretended, DEFAULTS, counts=metrics),
        metrics,
        **{"admission": Admission(queue, 4 * BODY_LIMIT, metrics), **more},
    )
    with tempfile.TemporaryDirectory() as folder:  # short, as paths of sockets must be
        monkeypatch.setenv(ENVIRONMENT, f"{folder}/run")
        with served(service, key, idle_s, connections, origins) as port:
            try:
                yield Running(port, pretended, service)
            finally:
                pretended.gate.set()
