"""An engine that only pretends, and lines that are checked; nothing here imports torch.

`python -m tests.runs.pretended batch …` is `dycoke batch …` with that engine and no real model.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dycoke_cli.answer.answer import Answer, ReportedFrames, Tokens
from dycoke_cli.ask import Answered, Ask, Failed
from dycoke_cli.errors import VideoError
from dycoke_cli.loop.asker import Asker, Pending
from dycoke_cli.loop.plan import RunPlan
from dycoke_cli.models.catalog import ModelRef, find
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.runs.batch_journal import Outcome
from dycoke_cli.runs.listener import Listener
from tests import documents
from tests.cli import fake_engine


def valid(line: dict[str, Any]) -> dict[str, Any]:
    """A line, once the schemas have taken it: of a line, and of any answer."""
    return documents.valid(documents.valid(line, "batch"), "answer")


WARNINGS = ("it is damaged: 3 packets were skipped", 'the "end", so to say, is missing')


Last = Answered | Failed


class Pretended(Asker):
    """Opens itself: the answer is the question, a video called "bad…" can't be read.

    The answers about one called "torn…" have `WARNINGS`.

    Args:
        together: answers that come in one go, of which none is lost.
    """

    searches = True

    def __init__(self, together: int = 1, pause_s: float = 0.0) -> None:
        super().__init__()
        self.asked: list[tuple[str, str]] = []
        self._together, self._pause_s = together, pause_s

    def __call__(self, plan: RunPlan, listener: Listener) -> Pretended:
        listener.stage("load")
        return self

    def _carry(self, pendings: Sequence[Pending], **_: object) -> None: ...

    def close(self) -> None: ...

    def advance(self) -> None:
        with self._changed:
            if not self._changed.wait_for(self._has_go, 0.05):
                return
            go, self._waiting = self._waiting[: self._together], self._waiting[self._together :]
        time.sleep(self._pause_s)
        for pending in go:
            pending.send(self._event(pending.ask))

    def _has_go(self) -> bool:
        waiting = self._waiting
        return len(waiting) >= self._together or bool(waiting and waiting[0].client.is_over)

    def _event(self, ask: Ask) -> Last:
        [video] = ask.videos
        self.asked.append((video.place, ask.question))
        if Path(video.path).name.startswith("bad"):
            return Failed(VideoError("it can't be read"))
        answer = pretended_answer(ask.question)
        if Path(video.path).name.startswith("torn"):
            answer = replace(answer, warnings=WARNINGS)
        return Answered(ask.named(answer))


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


if __name__ == "__main__":
    from dycoke_cli.stock import quiet

    quiet.silence_libraries = lambda: None
    from dycoke_cli.cli.main import main
    from dycoke_cli.models import load_memory, resolve
    from dycoke_cli.runs import run

    run.asker_here = Pretended(together=2, pause_s=0.3)

    resolve.resolve_model = lambda name, *options: PretendedModel(name)  # type: ignore[assignment]
    load_memory.needed_bytes = lambda model, built=None: None

    sys.exit(main())
