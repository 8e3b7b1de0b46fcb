"""A server in this process that commands find at its unix socket; its model only pretends."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from dycoke_cli.server.engine_thread import EngineThread
from dycoke_cli.server.session_cache import SessionCache

from dycoke_cli.models import settings
from dycoke_cli.server.local import batch_run, unix_socket
from dycoke_cli.server.metrics import Metrics
from dycoke_cli.server.service import Service
from dycoke_cli.storage import cache_folder as cache
from tests.cli import fake_engine
from tests.cli.fake_engine import FakeLoaded, FakeSession
from tests.server.pretended import make_service, served

assert batch_run  # imported before anything pretends: it knows the engine, and torch

if sys.platform == "win32":
    collect_ignore_glob = ["test_*.py"]  # no such sockets


@dataclass
class Served:
    """The server."""

    port: int
    loaded: FakeLoaded
    service: Service

    def has_answered(self) -> bool:
        """Whether the last conversation was held with the server's model."""
        return FakeSession.made[-1].loaded is self.loaded


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Of the socket, which no server has made yet."""
    with tempfile.TemporaryDirectory() as name:  # short, as paths of sockets must be
        monkeypatch.setenv(unix_socket.ENVIRONMENT, f"{name}/run")
        monkeypatch.setenv(settings.ENVIRONMENT, f"{name}/settings.json")
        monkeypatch.setenv(cache.ENVIRONMENT, f"{name}/cache")
        yield Path(name) / "run"


@pytest.fixture
def fake_model(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, module in fake_engine.modules_of_a_process().items():
        monkeypatch.setitem(sys.modules, name, module)
    FakeSession.made.clear()


@pytest.fixture
def local(folder: Path) -> Iterator[Served]:
    loaded, metrics = FakeLoaded("mini", layers=10), Metrics()
    sessions = SessionCache(1, metrics)
    engine = EngineThread(lambda: loaded, loaded, sessions, metrics)  # type: ignore[arg-type, return-value]
    service = make_service(engine, sessions, metrics)
    with served(service) as port:
        yield Served(port, loaded, service)
