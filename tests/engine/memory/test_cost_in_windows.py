"""What the windows of a long video keep and take, against a sum over its frames and by hand."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest

from dycoke_cli.compression.registry import create
from dycoke_cli.engine.memory.cost_model import CostModel, ReadInWindows
from dycoke_cli.engine.memory.sizes import VisionSizes
from dycoke_cli.models.catalog import ClipTokens
from dycoke_cli.video.clip import WINDOW

PER_FRAME = 16


def in_windows(method: Any, clip: ClipTokens, context: int | None, *given: int) -> ReadInWindows:
    """Of a model with so much context, a prompt of 20 tokens of text and an answer of 8."""
    sizes = SimpleNamespace(context=context)
    model: Any = SimpleNamespace(sizes=sizes, text=lambda clip: 20, max_tokens=8)
    return CostModel.in_windows(model, method, clip, *given)


@pytest.mark.parametrize("frames", [1, WINDOW, WINDOW + 1, 2 * WINDOW + 6, 3 * WINDOW])
@pytest.mark.parametrize("merged", [1, 2])
@pytest.mark.parametrize(
    ("name", "given"), [("none", {}), ("evs", {"retain": 0.3}), ("dycoke", {})]
)
def test_a_last_window_that_is_shorter_keeps_less(
    frames: int, merged: int, name: str, given: dict[str, Any]
) -> None:
    method = create(name, **given)
    clip = ClipTokens(math.ceil(frames / merged), PER_FRAME)
    video = in_windows(method, clip, 100_000, frames, 10**6)
    parts = [min(WINDOW, frames - start) for start in range(0, frames, WINDOW)]
    kept = [method.kept_tokens(math.ceil(part / merged), PER_FRAME) for part in parts]
    assert (video.count, video.kept) == (len(parts), sum(kept))
    assert video.clip.frames == math.ceil(parts[0] / merged)
    assert video.read == min(sum(kept), 100_000 - 28)


@pytest.mark.parametrize(("context", "cap"), [(None, 500), (1000, 500), (527, 499), (9, 1)])
def test_no_more_is_read_than_the_context_has_room_for(context: int | None, cap: int) -> None:
    video = in_windows(create("none"), ClipTokens(64, PER_FRAME), context, 64, 500)
    assert (video.cap, video.read, video.kept) == (cap, cap, 64 * PER_FRAME)


@pytest.mark.parametrize(
    ("count", "kept", "device", "taken"),
    [
        # Rows of 8 numbers in two bytes, and of DeepStack three more: of twice the cap at most.
        # Pixels of two more windows: 64 patches of a frame, each of 588 bytes.
        (9, 4000, "cpu", 4 * 1200 * 16 + 2 * 32 * 64 * 588 + 3 * 4 * 1024**2),
        (9, 4000, "cuda", 4 * 1200 * 16 + 3 * 4 * 1024**2),
        (2, 601, "cuda", 4 * 601 * 16 + 3 * 4 * 601**2),
        (1, 600, "cpu", 4 * 600 * 16),
    ],
)
def test_bytes_beside_a_window_by_hand(count: int, kept: int, device: str, taken: int) -> None:
    vision = VisionSizes(1, 1, 1, patch=588, frame_patches=0, merged=4, stacked=3)
    model: Any = SimpleNamespace(
        sizes=SimpleNamespace(vision=vision, hidden=8),
        facts=SimpleNamespace(dtype_bytes=2),
        target=SimpleNamespace(device=device),
        peak=lambda method, clip, read: {min(kept, 600): 0}[read],
    )
    video = ReadInWindows(count, ClipTokens(32, PER_FRAME), kept, cap=600)
    assert CostModel.peak_in_windows(model, create("none"), video) == taken
