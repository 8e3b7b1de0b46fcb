"""Merging frames inside the vision tower: later layers run on those that are left.

Hooks before its layers alone, so attention is the stock one. Behind the tower each frame has the
output of the one that it was merged into, for stock code counts on one for each frame.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from types import TracebackType
from typing import Any

import torch
from torch.utils.hooks import RemovableHandle

from dycoke_cli.compression.method import FrameMerging, MergedFrames
from dycoke_cli.engine.thread_hook import Arguments, after_forward, before_forward
from dycoke_cli.engine.vision_tower.tower_attention import TowerAttention
from dycoke_cli.models.families import family_of


class FramesInTower:
    """Within the block, frames that this thread encodes are merged inside the tower of a model."""

    def __init__(self, model: Any, merging: FrameMerging) -> None:
        tower = family_of(model.config).tower
        assert tower is not None, "checked before"
        self._merging = merging
        self._tower = model.model.get_submodule(tower.name)
        self._layers = tower.transformer_layers(model)
        self._merging_layers = merging.layers(tower.depth(model.config))
        self._windows: list[int] = []
        self._left: list[int] = []
        # For each frame the one that it is part of, as a row of the hidden states.
        self._rows: list[int] = []
        self._groups: list[int] = []
        # By number of rows, which tells outputs of different layers apart: `_rows` at that layer.
        self._rows_by_count: dict[int, list[int]] = {}
        self._hooks: list[RemovableHandle] = []

    def __enter__(self) -> FramesInTower:
        self._hooks = [before_forward(self._layers[0], self._begin)]
        for number, layer in enumerate(self._layers):
            before = number - 1
            if before in self._merging_layers:
                # Frames are merged in front of the next layer: a forward hook on this one couldn't
                # change the mask that the next one gets.
                merge = partial(self._merge, is_last=before == self._merging_layers[-1])
                self._hooks.append(before_forward(layer, merge))
            elif any(before > other for other in self._merging_layers):
                self._hooks.append(before_forward(layer, _without_mask))
        self._hooks.append(after_forward(self._tower, self._after_tower))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    def take(
        self, recorded: TowerAttention | None
    ) -> tuple[TowerAttention | None, MergedFrames | None]:
        """What was noted of the frames that were encoded last, frame by frame, and what is left.

        Args:
            recorded: what a `TowerRecorder` has noted; None for both where it isn't of them.
        """
        rows, self._rows = self._rows, []
        # Attention was recorded of other pictures, or of more than one pass of the tower.
        if recorded is None or len(recorded.attention) != max(rows, default=-1) + 1:
            return None, None
        # The first frame with the same row represents it: frames are merged into earlier ones.
        into, groups = (rows.index(row) for row in rows), (self._groups[row] for row in rows)
        return recorded.at(rows), MergedFrames(tuple(into), tuple(groups))

    def _begin(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        frames, window = len(args[0]), self._merging.window
        # Chunks of a video are whole windows (`encode_video`), so no window spans two passes.
        self._windows = [min(window, frames - start) for start in range(0, frames, window)]
        self._left = self._windows
        self._rows = list(range(frames))
        self._groups = list(range(frames))
        self._rows_by_count = {frames: self._rows}

    def _merge(
        self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], is_last: bool
    ) -> Arguments:
        parts: list[torch.Tensor] = []
        rows: list[list[int]] = []
        for hidden, frames in zip(args[0].split(self._left), self._windows, strict=True):
            left, row_of = self._merging.merge(hidden, frames)
            rows.append(row_of)
            parts.append(left)
        self._left = [len(left) for left in parts]
        row_in = counted_on(rows)
        self._rows = [row_in[row] for row in self._rows]
        self._rows_by_count[sum(self._left)] = self._rows
        if is_last:
            self._groups = counted_on(map(self._merging.groups, parts))
        return _without_mask(module, (torch.cat(parts), *args[1:]), kwargs)

    def _after_tower(self, output: Any) -> Any:
        output.last_hidden_state = self._whole(output.last_hidden_state)
        if output.hidden_states is not None:  # None for a layer that wasn't requested
            output.hidden_states = tuple(map(self._whole, output.hidden_states))
        return output

    def _whole(self, hidden: torch.Tensor | None) -> torch.Tensor | None:
        """One row for each frame of the video: what stock code behind the tower counts on."""
        if hidden is None:
            return None
        rows = self._rows_by_count[len(hidden)]
        return hidden if len(rows) == len(hidden) else hidden[rows]


def counted_on(parts: Iterable[Sequence[int]]) -> list[int]:
    """Numbers that begin at 0 in each part, counted on."""
    numbers: list[int] = []
    for part in parts:
        first = max(numbers, default=-1) + 1
        numbers += [first + number for number in part]
    return numbers


def _without_mask(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
    # Processors make whole pictures of frames: there is no padding to mask.
    named = {name: None if name == "attention_mask" else value for name, value in kwargs.items()}
    return (args[0], *(None for _ in args[1:])), named
