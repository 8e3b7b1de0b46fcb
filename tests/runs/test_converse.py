"""A conversation encodes its video once, whatever it asks the model for."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest

from dycoke_cli.answer.answer import Answer
from dycoke_cli.answer.json_schema import ABSENT
from dycoke_cli.compression.method import Method
from dycoke_cli.compression.methods.dycoke import DyCoke
from dycoke_cli.compression.methods.visionzip import VisionZip
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.models.load import LoadedModel, load
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.request import Request
from dycoke_cli.runs.converse import asks_of, converse, engine_of
from dycoke_cli.runs.listener import Listener
from dycoke_cli.video.sampling import Sampling
from tests.runs.parts import CLIPS

EXACT = LoadOptions(device="cpu", dtype="float32")
PLAIN = Request("mini", EXACT, Sampling(frames=6), Method(), GenerationOptions(max_tokens=2))
# VisionZip needs the attention of the vision tower, and the other one doesn't.
LADDER = (DyCoke(prune_layer=2, positions="kept"), VisionZip())


class Answers(Listener):
    """Keeps the answers."""

    def __init__(self) -> None:
        super().__init__()
        self.all: list[Answer] = []

    def finish(self, answer: Answer) -> None:
        self.all.append(answer)


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    return load("mini", **asdict(EXACT))


def frames_encoded(
    loaded: LoadedModel,
    request: Request,
    compare: bool,
    keep: int = 1,
) -> tuple[int, list[Answer]]:
    """Frames that the tower encodes for two questions, and their answers."""
    listener, frames = Answers(), list[int]()
    hook = loaded.model.model.vision_tower.register_forward_hook(
        lambda module, inputs, output: frames.append(len(output.last_hidden_state))
    )
    questions = ["What happens?", "What does the blue star do?"]
    with engine_of(request, listener, keep=keep, loaded=loaded) as engine:
        asks = asks_of([str(CLIPS / "move.mp4")], questions, request, compare=compare)
        converse(engine, asks, listener)
    hook.remove()
    return sum(frames), listener.all


def test_a_comparison_runs_the_tower_once(loaded: LoadedModel) -> None:
    frames, answers = frames_encoded(loaded, replace(PLAIN, method=LADDER[1]), True)
    assert all(answer.compared_to is not ABSENT for answer in answers)
    assert frames == frames_encoded(loaded, replace(PLAIN, method=LADDER[0]), True)[0] > 0
