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
PLAIN = Request("mini", EXACT, Sampling(frames=2), Method(), GenerationOptions(max_tokens=2))


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    return load("mini", **asdict(EXACT))


def frames_encoded(loaded: LoadedModel, method: Method) -> tuple[int, list[Answer]]:
    """Frames that the tower encodes for two comparisons, and their answers."""
    listener, frames, request = Listener(), list[int](), replace(PLAIN, method=method)
    hook = loaded.model.model.vision_tower.register_forward_hook(
        lambda module, inputs, output: frames.append(len(output.last_hidden_state))
    )
    questions = ["What happens?", "What does the blue star do?"]
    with engine_of(request, listener, keep=1, loaded=loaded) as engine:
        asks = asks_of([str(CLIPS / "move.mp4")], questions, request, compare=True)
        answers = converse(engine, asks, listener)
    hook.remove()
    return sum(frames), answers


def test_a_comparison_runs_the_tower_once(loaded: LoadedModel) -> None:
    """VisionZip needs the attention of the vision tower, and the other one doesn't."""
    frames, answers = frames_encoded(loaded, VisionZip())
    assert all(answer.compared_to is not ABSENT for answer in answers)
    other = DyCoke(prune_layer=2, positions="kept")
    assert frames == frames_encoded(loaded, other)[0] > 0
