"""Which requests the server answers in one batch."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from dycoke_cli.engine.binding import bind
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.evaluation.method_specs import parse_spec
from dycoke_cli.models.families import FAMILIES, Discovered, defaults_of
from dycoke_cli.models.traits import ModelTraits
from dycoke_cli.server.chat_request import ChatRequest
from dycoke_cli.server.engine_thread import EngineThread, Task
from dycoke_cli.server.metrics import Metrics
from dycoke_cli.server.session_cache import SessionCache
from dycoke_cli.video.sampling import Sampling

FAMILY = FAMILIES["llava_onevision"]
MINI = ModelTraits("llava_onevision", FAMILY, defaults_of(FAMILY, None, 12), 12, tower_depth=4)


def task(method: str = "dycoke", frames: int = 2, **changes: Any) -> Task:
    request = ChatRequest(
        videos=(),
        question="What?",
        history=(),
        sampling=Sampling(),
        method=parse_spec(method).create(),
        generation=GenerationOptions(),
        stream=False,
        include_usage=False,
    )
    clip: Any = SimpleNamespace(frames=np.zeros((frames, 4, 4, 3), np.uint8))
    request = replace(request, **changes)
    return Task(request, (bind(request.method, MINI),), "key", (clip,), None, lambda event: None)


def test_equal_requests_are_one_batch() -> None:
    assert task().group is not None
    assert task().group == task(question="Where?").group


@pytest.mark.parametrize(
    "other",
    [
        {"frames": 3},
        {"method": "evs"},
        {"generation": GenerationOptions(max_new_tokens=3)},
    ],
    ids=str,
)
def test_requests_that_differ_are_not(other: dict[str, Any]) -> None:
    method, frames = other.pop("method", "dycoke"), other.pop("frames", 2)
    assert task(method, frames, **other).group != task().group


@pytest.mark.parametrize(
    "alone",
    [
        {"stream": True},
        {"generation": GenerationOptions(temperature=0.5)},
        {"method": "fastv"},  # prunes inside the language model, for one sequence
        {"method": "holitom:inner_layer=2"},
    ],
    ids=str,
)
def test_what_is_answered_alone(alone: dict[str, Any]) -> None:
    method = alone.pop("method", "dycoke")
    assert task(method, **alone).group is None


def test_requests_about_a_found_family_are_answered_one_by_one() -> None:
    """A stock processor makes their prompts, each for itself."""
    metrics = Metrics()
    for discovered, sizes in ((None, [3]), (Discovered(), [1, 1, 1])):
        traits = replace(MINI, family=replace(FAMILY, discovered=discovered))
        load: Any = pytest.fail
        loaded: Any = SimpleNamespace(traits=traits)
        engine = EngineThread(load, loaded, SessionCache(1, metrics), metrics)
        for _ in range(3):
            engine.submit(task())
        batches = [engine._take() for _ in sizes]
        assert [len(batch) for batch in batches if isinstance(batch, list)] == sizes
