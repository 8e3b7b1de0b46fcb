"""Merging before vision in towers that have the patches of all frames in one sequence.

Towers like Qwen-VL's. There a visual token is made of consecutive patches, and layers get rotary
embeddings and the first patch of each frame, or of each window of a frame, as arguments. So patches
are dropped in whole tokens, with their rotary embeddings. The attention function gets the
boundaries of frames and windows; the layers themselves see one sequence.

Positions count within a frame, so the keys of another frame have the same ones.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from dycoke_cli.compression.method import BeforeVision
from dycoke_cli.engine.thread_hook import Arguments, after_forward, before_forward
from dycoke_cli.engine.vision_tower.stacked import Attending, TowerInPart, TowerPass
from dycoke_cli.models.families import PackedTower


class PackedVision(TowerInPart):
    """A tower that has the patches of all frames in one sequence."""

    def __init__(
        self, model: Any, tower: PackedTower, merging: BeforeVision, tokens_per_frame: int
    ) -> None:
        super().__init__(model, tower, merging)
        self._config, self._order_of = model.config.vision_config, tower.order
        self._outputs = [
            part
            for name in tower.outputs
            for module in [self._tower.get_submodule(name)]
            for part in (module if isinstance(module, nn.ModuleList) else [module])
        ]
        self._tokens_per_frame = tokens_per_frame
        self._frames = self._unit = 0
        self._order = torch.arange(0)
        self._window: TowerPass | None = None  # None before the selection
        # By the identity of what all layers of a kind get, which is kept beside it.
        self._attending: dict[int, tuple[torch.Tensor, list[Attending]]] = {}
        self._turns: dict[int, tuple[Any, tuple[torch.Tensor, ...]]] = {}

    def _add_hooks(self, first: int) -> list[RemovableHandle]:
        return [
            before_forward(self._tower, self._begin),
            before_forward(self._layers[first], self._select),
            *(before_forward(layer, self._before_layer) for layer in self._layers[first:]),
            # What leaves the tower is made whole part by part: the merger, and each of DeepStack's.
            *(after_forward(part, self._whole) for part in self._outputs),
            after_forward(self._tower, lambda output: self._run(None)),
        ]

    def _begin(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        # Each of these copies waits for the device, so there is one of each kind.
        grid = (kwargs["grid_thw"] if "grid_thw" in kwargs else args[1]).tolist()
        _, height, width = grid[0]
        self._frames = sum(row[0] for row in grid)  # some families give each frame a row of its own
        self._window, self._attending, self._turns = None, {}, {}
        # A token is made of a square of patches (2 × 2), which follow each other.
        self._unit = height * width // self._tokens_per_frame
        side = math.isqrt(self._unit)
        self._order = self._order_of(self._config, height // side, width // side).cpu()

    def _select(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
        hidden = args[0]
        patches = hidden.unflatten(0, (self._frames, self._tokens_per_frame, self._unit))
        # The tower may run windows of tokens one behind the other: `order[i]` is the token, in
        # reading order, that stands at i. A method chooses in reading order (so the inverse,
        # `order.argsort()`), and what is needed goes back into the tower's.
        reading = self._order.argsort().to(hidden.device, non_blocking=True)
        chosen = self._choose(patches.mean(2)[:, reading])
        needed = chosen[:, self._order.numpy()].repeat(self._unit, axis=1)
        references = self._merging.references(self._frames)
        self._window = TowerPass.of(needed, references, hidden.device)
        return (self._gather(hidden), *args[1:]), kwargs

    def _before_layer(
        self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Arguments:
        begins = kwargs["cu_seqlens"]
        assert self._window is not None, "selected before a layer"
        if id(begins) not in self._attending:
            # The parts of the first frame; those of the others repeat them. Layers differ: some
            # attend within windows, some within frames.
            ends = begins.tolist()
            bounds = [end for end in ends if end <= ends[-1] // self._frames]
            self._attending[id(begins)] = begins, self._window.attending(bounds)
        self._run(self._attending[id(begins)][1])
        # One sequence: the stock layer calls attention once, and ours splits it by `Attending`. On
        # the CPU, where that layer reads it.
        arguments: dict[str, Any] = {
            "cu_seqlens": torch.tensor([0, len(args[0])], dtype=begins.dtype)
        }
        if (turns := kwargs.get("position_embeddings")) is not None:
            if id(turns) not in self._turns:
                self._turns[id(turns)] = turns, tuple(map(self._gather, turns))
            arguments["position_embeddings"] = self._turns[id(turns)][1]
        return args, kwargs | arguments

    def _gather(self, patches: torch.Tensor) -> torch.Tensor:
        """Of what all patches `[S, D]` have, those `[R, D]` that go on."""
        assert self._window is not None, "selected before"
        return self._window.gather(patches.unflatten(0, (self._frames, -1)))[0]

    def _whole(self, output: torch.Tensor) -> torch.Tensor | None:
        """Whole frames of what is put out for patches, or for tokens."""
        if self._window is None:  # a layer before the selection
            return None
        # Behind the merger a row is a token, before it a patch: how many patches are in a row
        # follows from their numbers.
        unit = int(self._window.needed.sum()) // len(output)
        return self._window.in_units(unit).restore(output).flatten(0, 1)
