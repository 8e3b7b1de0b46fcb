"""Services of tiny random models, whose clients' videos are all the same few frames."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from dycoke_cli.loop import reading
from dycoke_cli.loop.local_engine import Engine
from dycoke_cli.loop.unloaded_model import UnloadedModel
from dycoke_cli.models.load import LoadedModel
from dycoke_cli.server.metrics import Metrics
from dycoke_cli.server.service import Service
from dycoke_cli.video.clip import Clip, FramePlan, VideoInfo
from tests.documents import example
from tests.families.stock import clip
from tests.server.pretended import DEFAULTS, make_service


class _Decoder:
    def __init__(self, limits: Any) -> None:
        """Nothing has a limit."""

    def start(self) -> None:
        """Nothing has to be."""

    def stop(self) -> None:
        """Nothing runs."""

    @contextmanager
    def open(self, video: Any, sampling: Any, **options: Any) -> Iterator[Any]:
        """The frames."""
        shown = clip(4)
        info = example(VideoInfo, path="a.mp4", duration_s=1.0, fps=4.0)
        plan = FramePlan(shown.timestamps_s, 32, 24, info, ())
        read = Clip(shown.frames, shown.timestamps_s, info, ())
        yield SimpleNamespace(plan=plan, read=lambda *_: read)


def service_of(monkeypatch: pytest.MonkeyPatch, loaded: LoadedModel, **more: Any) -> Service:
    """A service of a model; `more` as of `Service`. Its engine isn't started."""
    monkeypatch.setattr(reading, "Decoder", _Decoder)
    metrics, unloaded = Metrics(), UnloadedModel("mini", True, loaded.info)
    engine = Engine(DEFAULTS, loaded=loaded, unloaded=unloaded, keep=4, counts=metrics)
    return make_service(engine, metrics, **more)
