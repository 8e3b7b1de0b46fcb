"""Identical frames, which are encoded only once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from dycoke_cli.engine.tensor_hash import tensor_hash
from dycoke_cli.models.families import Family


def first_alike(family: Family, inputs: dict[str, torch.Tensor], frames: int) -> list[int]:
    """For each frame the first identical one: itself where there is none before.

    The last frame is always itself: what some families put behind a video comes with it.

    Args:
        family: knows how the inputs are cut into frames.
        inputs: what the processor made of one video.
        frames: how many there are.
    """
    first_with: dict[bytes, int] = {}
    first = [first_with.setdefault(_hash(family, inputs, i), i) for i in range(frames)]
    return [*first[:-1], frames - 1]


def new_runs(alike: list[int], longest: int) -> Iterator[tuple[int, int]]:
    """Begin and end of runs of frames that are to be encoded, at most `longest` at a time."""
    # Runs, not all new frames together: a chunk is a slice of the processor's inputs.
    begin = None
    for i in range(len(alike) + 1):
        new = i < len(alike) and alike[i] == i
        if begin is not None and (not new or i - begin == longest):
            yield begin, i
            begin = None
        if new and begin is None:
            begin = i


def _hash(family: Family, inputs: dict[str, torch.Tensor], frame: int) -> bytes:
    part: dict[str, Any] = family.pixels.part(inputs, frame, frame + 1)
    return tensor_hash(part[name] for name in sorted(part))
