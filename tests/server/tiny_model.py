"""Services of tiny random models, whose clients' videos are all the same few frames."""

from __future__ import annotations

from typing import Any

from dycoke_cli.server.engine_thread import EngineThread
from dycoke_cli.server.session_cache import SessionCache

from dycoke_cli.models.load import LoadedModel
from dycoke_cli.server.metrics import Metrics
from dycoke_cli.server.service import Service
from tests.families.stock import clip
from tests.server.pretended import make_service


def service_of(loaded: LoadedModel, **more: Any) -> Service:
    """A service of a model; `more` as of `Service`. Its engine isn't started."""
    metrics = Metrics()
    sessions = SessionCache(4, metrics)
    engine = EngineThread(lambda: loaded, loaded, sessions, metrics)
    return make_service(engine, sessions, metrics, **{"read": lambda *_: clip(4), **more})
