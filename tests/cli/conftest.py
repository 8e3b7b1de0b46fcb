"""Fixtures: settings of nobody's own, and the engine that only pretends."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dycoke_cli.evaluation.datasets import DATASETS
from dycoke_cli.server.local import unix_socket
from dycoke_cli.storage import cache_folder as cache
from tests.cli.fake_engine import TOLD, Fake
from tests.evaluation.prepared import Prepared
from tests.evaluation.samples import WHERE
from tests.runs.pretended import Pretended


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep every test away from the cache and the servers of whoever runs it."""
    monkeypatch.setenv(cache.ENVIRONMENT, str(tmp_path / "cache"))
    monkeypatch.setenv(unix_socket.ENVIRONMENT, str(tmp_path / "runtime"))


_kept: dict[tuple[str, str], Any] = {}
"""What was loaded or computed of the bundled model, by the function and the options of loading."""


@pytest.fixture(autouse=True)
def loaded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Load the bundled model, and compute its size, once for all commands, as a server does."""
    if "dycoke_cli.models.load" not in sys.modules:
        return  # torch, which takes seconds, is imported by what needs it
    from dycoke_cli.models import load_memory

    loading = sys.modules["dycoke_cli.models.load"]
    load, weight_bytes = loading.load, load_memory.weight_bytes

    def loaded(name: Any, *, on_stage: Any = None, fit: Any = None, **options: Any) -> Any:
        if getattr(name, "name", name) != "mini":
            return load(name, on_stage=on_stage, fit=fit, **options)
        key = "load", repr(sorted(options.items()))
        if key not in _kept:
            _kept[key] = load(name, on_stage=on_stage, fit=fit, **options)
        return _kept[key]

    def weights(resolved: Any, built: Any = None) -> Any:
        if resolved.source.name != "mini":
            return weight_bytes(resolved, built)
        key = "weights", repr((resolved.options, resolved.device, resolved.dtype))
        if key not in _kept:
            _kept[key] = weight_bytes(resolved, built)
        return _kept[key]

    monkeypatch.setattr(loading, "load", loaded)
    monkeypatch.setattr(load_memory, "weight_bytes", weights)


@pytest.fixture(scope="module")
def samples() -> Iterator[None]:
    """Make the sample clips a benchmark."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(DATASETS, "samples", WHERE)
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a miniature of each published benchmark."""
    from tests.evaluation import miniatures

    folder = tmp_path_factory.mktemp("data")
    for name in miniatures.MAKERS:
        miniatures.make(name, folder / name)
    return folder


@pytest.fixture
def known_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answer the questions about them without a model."""
    monkeypatch.setattr("dycoke_cli.runs.run.asker_here", Prepared())


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Put the pretending model in place; gives the sessions that are made."""
    return Fake(answer=TOLD).install(monkeypatch)


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Pretended:
    """What answers in runs over many videos only pretends."""
    pretended = Pretended()
    monkeypatch.setattr("dycoke_cli.runs.run.asker_here", pretended)
    return pretended
