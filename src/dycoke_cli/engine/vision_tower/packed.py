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

from dycoke_cli.compression.base import BeforeVision
from dycoke_cli.engine.thread_hook import Arguments, after_forward, before_forward
from dycoke_cli.engine.vision_tower.stacked import Running, TowerInPart, TowerPass
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
        self._window = TowerPass([], [])
        self._counts: dict[tuple[int, ...], list[list[int]]] = {}

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
        grid = kwargs["grid_thw"] if "grid_thw" in kwargs else args[1]
        _, height, width = grid[0].tolist()
        self._frames = int(grid[:, 0].sum())  # some families give each frame a row of its own
        # A token is made of a square of patches (2 × 2), which follow each other.
        self._unit = height * width // self._tokens_per_frame
        side = math.isqrt(self._unit)
        self._order = self._order_of(self._config, height // side, width // side)

    def _select(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
        patches = args[0].unflatten(0, (self._frames, self._tokens_per_frame, self._unit))
        # The tower may run windows of tokens one behind the other: `order[i]` is the token, in
        # reading order, that stands at i. A method chooses in reading order (so the inverse,
        # `order.argsort()`), and what is needed goes back into the tower's.
        order = self._order.to(patches.device)
        self.kept = self._merging.keep(patches.mean(2)[:, order.argsort()])
        is_kept = torch.zeros(patches.shape[:2], dtype=torch.bool, device=patches.device)
        is_kept.view(-1)[self.kept] = True
        needed = is_kept[:, order].repeat_interleave(self._unit, dim=1)
        references = self._merging.references(self._frames)
        self._window = TowerPass([frame.nonzero().flatten() for frame in needed], references)
        self._counts = {}
        return (self._gather(args[0]), *args[1:]), kwargs

    def _before_layer(
        self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Arguments:
        begins = kwargs["cu_seqlens"]
        # The parts of the first frame; those of the others repeat them. Layers differ: some attend
        # within windows, some within frames.
        ends = begins.tolist()
        bounds = tuple(end for end in ends if end <= ends[-1] // self._frames)
        # Counting copies from the device, so once for each kind of layer.
        if bounds not in self._counts:
            self._counts[bounds] = self._window.counts([*bounds])
        self._run(Running(self._window, [*bounds], self._counts[bounds]))
        one = torch.tensor([0, len(args[0])], dtype=begins.dtype, device=begins.device)
        # One sequence: the stock layer calls attention once, and ours splits it by `Running`.
        arguments: dict[str, Any] = {"cu_seqlens": one}
        if "position_embeddings" in kwargs:
            arguments["position_embeddings"] = tuple(
                map(self._gather, kwargs["position_embeddings"])
            )
        return args, kwargs | arguments

    def _gather(self, patches: torch.Tensor) -> torch.Tensor:
        """Of what all patches `[S, D]` have, those `[Σn, D]` that go on."""
        return self._window.gather(patches.unflatten(0, (self._frames, -1)))[0]

    def _whole(self, output: torch.Tensor) -> torch.Tensor | None:
        """Whole frames of what is put out for patches, or for tokens."""
        if self._running is None:  # a layer before the selection
            return None
        # Behind the merger a row is a token, before it a patch: how many patches are in a row
        # follows from their numbers. The first patch of each token, divided by that, is the token.
        unit = sum(map(len, self._window.patches)) // len(output)
        of_output = [patches[::unit] // unit for patches in self._window.patches]
        return TowerPass(of_output, self._window.references).restore(output).flatten(0, 1)
