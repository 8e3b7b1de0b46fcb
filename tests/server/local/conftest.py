"""A server in this process that commands find at its socket; its model pretends, or is real.

What needs the extra `serve` is imported by the fixtures.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from dycoke_cli.loop.local_engine import Engine
from dycoke_cli.models.load import LoadedModel, load
from dycoke_cli.server.local import unix_socket
from dycoke_cli.storage import cache_folder as cache
from tests.cli.fake_engine import PATIENCE_S, Fake
from tests.cli.harness import CLIP
from tests.loop.asking import engine_of
from tests.waiting import until

if TYPE_CHECKING:
    from dycoke_cli.server.service import Service

if sys.platform == "win32":
    collect_ignore_glob = ["test_*.py"]  # no such sockets


@dataclass
class Served:
    """The server."""

    port: int  # at which it listens, too
    service: Service  # what answers
    loads: list[Any] = field(default_factory=list)  # how commands loaded models
    pretended: Fake = field(default_factory=Fake)  # its model, unless that is real

    def has_answered(self) -> bool:
        """Whether no command has loaded a model since the last call."""
        loads, self.loads[:] = [*self.loads], []
        return not loads

    def wait_until_idle(self) -> None:
        """Wait until nothing is under way."""
        until(lambda: self.service.engine.idle_s, PATIENCE_S)


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Of the socket, which no server has made yet."""
    with tempfile.TemporaryDirectory() as name:  # short, as paths of sockets must be
        monkeypatch.setenv(unix_socket.ENVIRONMENT, f"{name}/run")
        monkeypatch.setenv(cache.ENVIRONMENT, f"{name}/cache")
        yield Path(name) / "run"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: clips, the subtitles of one of them, pictures."""
    monkeypatch.chdir(tmp_path)
    for name in ("move", "turn", "minute"):
        (tmp_path / f"{name}.mp4").write_bytes(CLIP.with_name(f"{name}.mp4").read_bytes())
    (tmp_path / "move.srt").write_text("1\n00:00:00,000 --> 00:00:09,000\nA blue star moves.\n")
    (tmp_path / "pictures").mkdir()
    for number in range(3):
        picture = Image.new("RGB", (64, 64), (80 * number, 0, 0))
        picture.save(tmp_path / "pictures" / f"{number}.png")
    return tmp_path


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> Fake:
    """A model that pretends, here and in the server; videos are real."""
    return Fake().install(monkeypatch)


@pytest.fixture
def local(pretended: Fake, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    from dycoke_cli.server.metrics import Metrics
    from tests.server.pretended import DEFAULTS, make_service

    metrics = Metrics()
    service = make_service(engine_of(pretended, DEFAULTS, counts=metrics), metrics)
    with _found(service, pretended.load(), monkeypatch) as found:
        found.pretended = pretended
        yield found
        pretended.gate.set()


def _in_float32(patch: pytest.MonkeyPatch) -> None:
    """Make `--dtype auto` float32 on every processor.

    In bfloat16 a prompt that is read in two pieces gives probabilities that are a hundredth off
    those of one piece.
    """
    patch.setattr("dycoke_cli.models.devices.is_slow_in_bfloat16", lambda _: True)


@pytest.fixture(autouse=True)
def _commands_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    _in_float32(monkeypatch)


@pytest.fixture(scope="session")
def mini() -> LoadedModel:
    """The bundled model, loaded once for all commands and servers."""
    with pytest.MonkeyPatch.context() as patch:
        _in_float32(patch)
        return load("mini")


@pytest.fixture
def real(mini: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """A server of the bundled model."""
    from dycoke_cli.server.metrics import Metrics
    from tests.server.pretended import DEFAULTS, make_service

    metrics = Metrics()
    engine = Engine(DEFAULTS, loaded=mini, keep=4, counts=metrics)
    engine.loading = DEFAULTS.loading.with_dtype(mini.model.dtype)
    with _found(make_service(engine, metrics), mini, monkeypatch) as found:
        yield found


@contextmanager
def _found(service: Service, loaded: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """Within the block commands find a server; those that answer by themselves have its model."""
    from tests.server.pretended import served

    with served(service) as port:
        found = Served(port, service)

        def loading(model: Any, **options: Any) -> Any:
            found.loads.append(options)
            return loaded

        monkeypatch.setattr("dycoke_cli.models.load.load", loading)
        yield found
