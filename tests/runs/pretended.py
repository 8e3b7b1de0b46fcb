"""An engine that only pretends, and lines that are checked; nothing here imports torch.

`python -m tests.runs.pretended batch …` is `dycoke batch …` with that engine and no real model.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from dycoke_cli.answer.answer import Answer, ReportedFrames, Tokens
from dycoke_cli.ask import Answered, Ask, Failed
from dycoke_cli.errors import VideoError
from dycoke_cli.loop.asker import Asker, Pending
from dycoke_cli.loop.plan import RunPlan
from dycoke_cli.models.catalog import find
from dycoke_cli.models.families import FAMILIES, ModelInfo
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.runs.batch_journal import Outcome
from dycoke_cli.runs.listener import Listener
from tests import documents


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

    Attributes:
        asked: places and questions, in their order.
        answer: makes the answer to a question.
        meanwhile: called before the first answer.
    """

    searches = True

    def __init__(self, together: int = 1, pause_s: float = 0.0) -> None:
        super().__init__()
        self.asked: list[tuple[str, str]] = []
        self.answer: Callable[[Ask], Answer] = lambda ask: pretended_answer(ask.question)
        self.meanwhile: Callable[[], object] = lambda: None
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
        if not self.asked:
            self.meanwhile()
        self.asked.append((video.place, ask.question))
        if Path(video.path).name.startswith("bad"):
            return Failed(VideoError("it can't be read"))
        answer = self.answer(ask)
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


def pretended_model(name: str, *_: object) -> Any:
    """In place of `resolve_model`."""
    identity = {"name": name, "revision": None, "weights": "none", "dtype": "float32"}
    return SimpleNamespace(
        source=find(name),
        info=ModelInfo("llava_onevision", FAMILIES["llava_onevision"], {}, 10, name),
        options=LoadOptions(dtype="float32"),
        identity=identity,
        describe=lambda: identity,
    )


if __name__ == "__main__":
    from dycoke_cli.stock import quiet

    quiet.silence_libraries = lambda: None
    from dycoke_cli.cli.main import main
    from dycoke_cli.models import load_memory, resolve
    from dycoke_cli.runs import run

    run.asker_here = Pretended(together=2, pause_s=0.3)
    resolve.resolve_model = pretended_model
    load_memory.needed_bytes = lambda model, built=None: None

    sys.exit(main())
