"""What answers in place of a model, in workers on Ray: each way in which a worker can end."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from dycoke_cli.ask import Ask, Footage
from dycoke_cli.compression.method import Method
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.errors import ModelError
from dycoke_cli.loop.plan import RunPlan
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.request import Request
from dycoke_cli.runs.outcome import Outcome
from dycoke_cli.runs.worker import AnswerSlice
from dycoke_cli.video import Sampling


class Nothing:
    """In place of a method: those would make each worker import torch."""

    name = "nothing"

    def parameters(self) -> dict[str, float]:
        return {}


REQUEST = Request(
    model="pretended",
    loading=LoadOptions(device="cpu"),
    method=Method(),
    sampling=Sampling(),
    generation=GenerationOptions(max_new_tokens=8),
)
PLAN = RunPlan(REQUEST, REQUEST.method, {"name": "pretended"})
DEADLY = "deadly"
SECONDS = 0.3


def groups_named(folder: Path, *names: str) -> list[list[Ask]]:
    """Two questions about each name; there are no such files."""
    return [
        [
            PLAN.with_defaults(Ask(text, REQUEST, (Footage(str(folder / name), name, name),)))
            for text in ("What?", "Where?")
        ]
        for name in names
    ]


def pretend(plan: RunPlan, threads: int) -> AnswerSlice:
    """Takes a while for each video, and dies of those named so; a diary tells of it."""

    def answer(groups: Sequence[Sequence[Ask]]) -> list[Outcome]:
        found = []
        for group in groups:
            path = Path(group[0].videos[0].path)
            with (path.parent / "diary").open("a") as diary:
                diary.write(f"{path.name}\n")
            if path.name.startswith(DEADLY):
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(SECONDS)
            found += [_outcome(ask, threads) for ask in group]
        return found

    return answer


def cannot_load(plan: RunPlan, threads: int) -> AnswerSlice:
    """There is no such model on the workers' machines."""
    raise ModelError("this machine hasn't got the model")


def _outcome(ask: Ask, threads: int) -> Outcome:
    assert ask.key is not None
    known = {"video": ask.videos[0].name, "question": ask.question, "answer": "so"}
    return Outcome(ask.key, {**known, "pid": os.getpid(), "threads": threads})
