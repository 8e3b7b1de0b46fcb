"""Which requests the server answers in one batch."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from dycoke_cli.compression.registry import create
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.server.chat_request import ChatRequest
from dycoke_cli.server.engine_thread import Task
from dycoke_cli.video.sampling import Sampling


def task(method: str = "dycoke", frames: int = 2, **changes: Any) -> Task:
    request = ChatRequest(
        videos=(),
        question="What?",
        history=(),
        sampling=Sampling(),
        method=create(method),
        generation=GenerationOptions(),
        stream=False,
        include_usage=False,
    )
    clip: Any = SimpleNamespace(frames=np.zeros((frames, 4, 4, 3), np.uint8))
    return Task(replace(request, **changes), "key", (clip,), None, lambda event: None)


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
        {"method": "holitom"},
    ],
    ids=str,
)
def test_what_is_answered_alone(alone: dict[str, Any]) -> None:
    method = alone.pop("method", "dycoke")
    assert task(method, **alone).group is None
