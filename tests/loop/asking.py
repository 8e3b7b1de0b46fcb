"""Questions to an engine whose model and videos pretend."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dycoke_cli.ask import Ask, Footage
from dycoke_cli.compression.methods import DyCoke
from dycoke_cli.compression.registry import parse_spec
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.loop.asker import Pending
from dycoke_cli.loop.local_engine import Engine
from dycoke_cli.loop.unloaded_model import UnloadedModel
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.request import Request
from dycoke_cli.video.sampling import Sampling
from tests.cli.fake_engine import Fake

REQUEST = Request("mini", LoadOptions(), Sampling(frames=2), DyCoke(), GenerationOptions())


def engine_of(fake: Fake, request: Request = REQUEST, **more: Any) -> Engine:
    """An engine, whose model is loaded; `more` as of `Engine`."""
    given: dict[str, Any] = {
        "load": lambda fit: fake.load(),
        "loaded": None if "loaded" in more else fake.load(),
        "unloaded": UnloadedModel("mini", True, fake.info),
        "keep": 4,
    }
    return Engine(request, **given | more)


class Asking:
    """Questions to an engine whose model and videos pretend."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pretended = Fake().install(monkeypatch, videos=True)
        self._folder = folder
        self._numbers = itertools.count()

    def engine(self, **more: Any) -> Engine:
        return engine_of(self.pretended, **more)

    def ask(
        self,
        question: str,
        *,
        name: str | None = None,
        videos: int = 1,
        edge: int = 2,
        frames: int = 2,
        method: str = "dycoke",
        generation: GenerationOptions | None = None,
        **more: Any,
    ) -> Ask:
        """A question about a video of that name, or about another one than all before."""
        shown = []
        for _ in range(videos):
            path = self._folder / (name or f"{next(self._numbers)}.mp4")
            path.touch()
            self.pretended.size[path.name] = edge
            shown.append(Footage(str(path), path.name, identity=path.name))
        request = replace(
            REQUEST,
            method=parse_spec(method).create(),
            sampling=Sampling(frames=frames),
            generation=generation or GenerationOptions(),
        )
        return Ask(question, request, tuple(shown), **more)

    @staticmethod
    def wait_until_read(pendings: Sequence[Pending]) -> None:
        """Wait until all videos are."""
        for pending in pendings:
            if pending.video is not None:
                pending.video.reading.wait_end()

    def finish(self, engine: Engine, pendings: Sequence[Pending]) -> None:
        """Answer questions once all of their videos are read."""
        self.wait_until_read(pendings)
        while not all(pending.is_over for pending in pendings):
            engine.advance()
