"""An engine that only pretends, and lines that are checked; nothing here imports torch.

`python -m tests.runs.pretended batch …` is `dycoke batch …` with that engine and no real model.
"""

from __future__ import annotations

import sys
import time
import types
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dycoke_cli.answer.answer import Answer, ReportedFrames, Tokens
from dycoke_cli.ask import Answered, Ask, Failed
from dycoke_cli.errors import VideoError
from dycoke_cli.loop.plan import RunPlan
from dycoke_cli.models.catalog import ModelRef, find
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.runs.listener import Listener
from dycoke_cli.runs.outcome import Outcome
from tests import documents
from tests.cli import fake_engine


def valid(line: dict[str, Any]) -> dict[str, Any]:
    """A line, once the schemas have taken it: of a line, and of any answer."""
    return documents.valid(documents.valid(line, "batch"), "answer")


WARNINGS = ("it is damaged: 3 packets were skipped", 'the "end", so to say, is missing')


class Pretended:
    """An engine: the answer is the question, a video called "bad…" can't be read.

    The answers about one called "torn…" have `WARNINGS`.

    Args:
        together: answers that come in one go, of which none is lost.
    """

    def __init__(self, together: int = 1, pause_s: float = 0.0) -> None:
        self.asked: list[tuple[str, str]] = []
        self._together, self._pause_s = together, pause_s

    def __call__(
        self, groups: Iterable[Sequence[Ask]], plan: RunPlan, listener: Listener
    ) -> Iterator[Outcome]:
        listener.stage("load")
        listener.ready = True
        waiting = [ask for group in groups for ask in group]
        while waiting and not listener.stopping:
            go, waiting = waiting[: self._together], waiting[self._together :]
            time.sleep(self._pause_s)
            yield from map(self._outcome, go)

    def _outcome(self, ask: Ask) -> Outcome:
        [video] = ask.videos
        self.asked.append((video.place, ask.question))
        if Path(video.path).name.startswith("bad"):
            return outcome_of(ask, VideoError("it can't be read"))
        answer = pretended_answer(ask.question)
        if Path(video.path).name.startswith("torn"):
            answer = replace(answer, warnings=WARNINGS)
        return outcome_of(ask, answer)


def pretended_answer(text: str) -> Answer:
    """Says the question again."""
    return documents.example(
        Answer,
        question=text,
        answer=f"{text} indeed",
        method={"name": "none"},
        frames=ReportedFrames(2, (0.0, 1.0)),
        tokens=documents.example(Tokens, visual=32, generated=3),
    )


def outcome_of(ask: Ask, last: Answer | Exception) -> Outcome:
    """The line of a settled question, with its answer or its error."""
    if isinstance(last, Exception):
        return Outcome.of(ask, Failed(last))
    return Outcome.of(ask, Answered(ask.named(last)))


def make_clips(folder: Path, *names: str) -> Path:
    """Files that differ; what they hold is no video."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(f"content of {name}".encode())
    return folder


@dataclass
class PretendedModel(fake_engine.FakeLoaded):
    """Stands in for a `ResolvedModel`."""

    options: LoadOptions = LoadOptions(dtype="float32")  # noqa: RUF009 (frozen)

    @property
    def source(self) -> ModelRef:
        return find(self.name)

    @property
    def identity(self) -> dict[str, Any]:
        return {"name": self.name, "revision": None, "weights": "none", "dtype": "float32"}

    def describe(self) -> dict[str, Any]:
        return self.identity


def _module(name: str, **content: Any) -> types.ModuleType:
    module = types.ModuleType(name)
    vars(module).update(content)
    return module


if __name__ == "__main__":
    engine = Pretended(together=2, pause_s=0.3)
    for module in (
        _module("dycoke_cli.stock.quiet", silence_libraries=lambda: None),
        _module("dycoke_cli.runs.local", answers=engine, answers_of=None),
    ):
        sys.modules[module.__name__] = module
    from dycoke_cli.cli.main import main
    from dycoke_cli.models import load_memory, resolve

    resolve.resolve_model = lambda name, *options: PretendedModel(name)  # type: ignore[assignment]
    load_memory.needed_bytes = lambda model, built=None: None

    sys.exit(main())
