"""What the windows of a long video keep, against a sum over its frames."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest

from dycoke_cli.compression.registry import create
from dycoke_cli.engine.memory.cost_model import CostModel
from dycoke_cli.models.prompts.frame_tokens import ClipTokens
from dycoke_cli.video.frame_windows import WINDOW

PER_FRAME = 16


@pytest.mark.parametrize("frames", [1, WINDOW, WINDOW + 1, 2 * WINDOW + 6, 3 * WINDOW])
@pytest.mark.parametrize("merged", [1, 2])
@pytest.mark.parametrize(
    ("name", "given"), [("none", {}), ("evs", {"retain": 0.3}), ("dycoke", {})]
)
def test_a_last_window_that_is_shorter_keeps_less(
    frames: int, merged: int, name: str, given: dict[str, Any]
) -> None:
    method = create(name, **given)
    model: Any = SimpleNamespace(
        sizes=SimpleNamespace(context=100_000), text=lambda clip: 20, max_new_tokens=8
    )
    encoded = math.ceil(frames / merged)
    video = CostModel.in_windows(
        model, method, ClipTokens(encoded, PER_FRAME), frames, max_tokens=10**6
    )
    parts = [min(WINDOW, frames - start) for start in range(0, frames, WINDOW)]
    kept = [method.kept_tokens(math.ceil(part / merged), PER_FRAME) for part in parts]
    assert (video.count, video.kept) == (len(parts), sum(kept))
    assert video.clip.frames == math.ceil(parts[0] / merged)
    assert video.read == min(sum(kept), 100_000 - 28)
