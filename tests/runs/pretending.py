"""What answers in place of a model, in workers on Ray: each way in which a worker can end."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace
from pathlib import Path

from dycoke_cli.ask import Answered, Ask, Footage
from dycoke_cli.compression.method import Method
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.errors import ModelError
from dycoke_cli.loop.asker import Asker
from dycoke_cli.loop.plan import RunPlan
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.request import Request
from dycoke_cli.video.sampling import Sampling
from tests.runs.pretended import Last, Pretended, pretended_answer


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
    generation=GenerationOptions(max_tokens=8),
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


class Pretending(Pretended):
    """Takes a while for each video, and dies of those named so; a diary tells of it."""

    def __init__(self, plan: RunPlan, threads: int) -> None:
        super().__init__(together=2)
        self._threads = threads

    def _event(self, ask: Ask) -> Last:
        path = Path(ask.videos[0].path)
        if ask.question == "What?":
            with (path.parent / "diary").open("a") as diary:
                diary.write(f"{path.name}\n")
            if path.name.startswith(DEADLY):
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(SECONDS)
        answer = pretended_answer(ask.question)
        return Answered(ask.named(replace(answer, answer=f"{os.getpid()} {self._threads}")))


def cannot_load(plan: RunPlan, threads: int) -> Asker:
    """There is no such model on the workers' machines."""
    raise ModelError("this machine hasn't got the model")
