"""The vision tower on fewer tokens: frames alike encoded once, frames merged, tokens dropped early.

Merging before vision: patches of dropped tokens don't go through the tower. The first layers run on
every patch, since their output shows better than raw pixels what is new. Behind them the selection
is made. From there on a compared frame has the patches of its kept tokens only; in place of its
other patches it attends to the keys and values of the frame that it was compared with. So the
tower's cost falls to the share that is kept, and if the other patches are equal in both frames, the
embeddings are exact. To the stock layers, which work patch by patch, all kept patches of a window
are one sequence; an attention function separates the frames. `MergedVision` is for towers with
frames along an axis of their own, `PackedVision` for those with all frames in one sequence.
"""

from __future__ import annotations

import math
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import pairwise
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from dycoke_cli.compression.method import BeforeVision, FrameMerging, MergedFrames
from dycoke_cli.engine.attention import TowerAttention
from dycoke_cli.kernels.tensor_files import tensor_hash
from dycoke_cli.models.families import Family, PackedTower, Tower, family_of
from dycoke_cli.stock.forward import (
    Arguments,
    Attention,
    WrappedAttention,
    after_forward,
    before_forward,
)


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

    def __exit__(self, *_: object) -> None:
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
        row_in = numbered_on(rows)
        self._rows = [row_in[row] for row in self._rows]
        self._rows_by_count[sum(self._left)] = self._rows
        if is_last:
            self._groups = numbered_on(map(self._merging.groups, parts))
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


def numbered_on(parts: Iterable[Sequence[int]]) -> list[int]:
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


# Layers that run on all patches before the selection.
LAYERS_BEFORE = 2
# Arguments of flash attention about several sequences in one; here each is a call of its own.
_SEQUENCE_ARGUMENTS = ("cu_seq_lens_q", "cu_seq_lens_k", "max_length_q", "max_length_k")
# Attention functions are those of the process, so what runs is found by thread.
_here = threading.local()


@dataclass(frozen=True)
class TowerPass:
    """The frames that go through the tower together: F of P patches, of which R go on.

    What goes on is decided on the device; all that follows from it is worked out on the host.
    """

    needed: npt.NDArray[np.bool_]  # `[F, P]`: the patches that go on
    # `[F, P]`, int64: for each patch the place, among those that go on, of the one that stands for
    # it: its own, or that of the frame that its frame is compared with
    sources: npt.NDArray[np.int64]
    device: torch.device

    @classmethod
    def of(
        cls,
        needed: npt.NDArray[np.bool_],
        references: Sequence[int | None],
        device: torch.device,
    ) -> TowerPass:
        """That of frames of which these patches go on.

        Args:
            needed: `[F, P]`.
            references: for each frame the earlier one that stands for its other patches, or None
                where it goes on whole.
            device: of the tower.
        """
        sources = needed.ravel().cumsum().reshape(needed.shape) - 1
        for frame, reference in enumerate(references):
            if reference is not None:  # which comes earlier, so its sources are final by now
                sources[frame] = np.where(needed[frame], sources[frame], sources[reference])
        return cls(needed, sources, device)

    @cached_property
    def _rows(self) -> torch.Tensor:
        return self.there(np.flatnonzero(self.needed))

    @cached_property
    def _sources(self) -> torch.Tensor:
        return self.there(self.sources)

    def there(self, numbers: npt.NDArray[np.int64]) -> torch.Tensor:
        """Numbers on the device, one behind the other; what it computes isn't waited for."""
        return torch.from_numpy(numbers.ravel()).to(self.device, non_blocking=True)

    def gather(self, hidden: torch.Tensor) -> torch.Tensor:
        """The patches `[1, R, D]` that go on of `hidden[F, P, D]`."""
        return hidden.flatten(0, 1).index_select(0, self._rows.to(hidden.device))[None]

    def whole(self, patches: torch.Tensor | None) -> torch.Tensor | None:
        """The output of any layer as whole frames `[F, P, D]`; before the selection it is whole."""
        if patches is None or len(patches) > 1:
            return patches
        return self.restore(patches[0])

    def restore(self, patches: torch.Tensor) -> torch.Tensor:
        """Whole frames `[F, P, D]` of `patches[R, D]`; the rest is the references'."""
        sources = self._sources.to(patches.device)  # a tower may be split over several
        return patches.index_select(0, sources).unflatten(0, self.sources.shape)

    def in_units(self, unit: int) -> TowerPass:
        """The same of tokens that are each made of so many consecutive patches."""
        return replace(self, needed=self.needed[:, ::unit], sources=self.sources[:, ::unit] // unit)

    def attending(self, bounds: Sequence[int]) -> list[Attending]:
        """What attends to what, where patches attend to those of their own part of a frame.

        Args:
            bounds: the patch with which each part of a frame begins, and that behind the last one.
        """
        # Patches ascend, so the queries of a part are consecutive.
        parts: dict[tuple[int, int], list[tuple[int, int, npt.NDArray[np.int64]]]] = {}
        first = 0
        for needed, sources in zip(self.needed, self.sources, strict=True):
            for begin, end in pairwise(bounds):
                count = int(needed[begin:end].sum())
                if count:  # else there are no queries
                    # On a GPU each call costs a launch: parts with as many keys are one, in which
                    # shorter ones repeat their last query. Whole ones apart, or all would be whole.
                    alike = count if self.device.type == "cpu" else count == end - begin
                    parts.setdefault((end - begin, alike), []).append(
                        (first, count, sources[begin:end])
                    )
                first += count
        return [self._attending(each) for each in parts.values()]

    def _attending(self, parts: list[tuple[int, int, npt.NDArray[np.int64]]]) -> Attending:
        steps = np.arange(max(count for _, count, _ in parts))
        queries = [first + steps.clip(max=count - 1) for first, count, _ in parts]
        return Attending(
            len(parts),
            self.there(np.stack(queries)),
            self.there(np.stack([keys for *_, keys in parts])),
        )


@dataclass(frozen=True)
class Attending:
    """Parts of frames that attend in one call, G of them with N queries and S keys each."""

    count: int  # G
    queries: torch.Tensor  # `[G * N]`, int64: which of the patches that go on; one may come again
    keys: torch.Tensor  # `[G * S]`, int64: the same of those that they attend to

    def batched(self, patches: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
        """`[G, H, N, D]` of `patches[1, H, R, D]`, of those `at[G * N]`."""
        chosen = patches[0].index_select(1, at.to(patches.device))
        return chosen.unflatten(1, (self.count, -1)).transpose(0, 1)


class TowerInPart(ABC):
    """Within the block, this thread's videos run through the tower of a model in part.

    Attributes:
        kept: of the frames that ran last: flat indices `frame*N + position`, int64, on the CPU.
    """

    def __init__(self, model: Any, tower: Tower | PackedTower, merging: BeforeVision) -> None:
        self.kept = torch.arange(0)
        self._merging = merging
        self._tower = model.model.get_submodule(tower.name)
        self._layers: Any = self._tower.get_submodule(tower.layers)
        self._hooks: list[RemovableHandle] = []

    def __enter__(self) -> Self:
        self._hooks = self._add_hooks(min(LAYERS_BEFORE, len(self._layers) - 1))
        self._attention = WrappedAttention(self._tower, _keeping_apart)
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()
        self._attention.remove()
        self._run(None)

    @abstractmethod
    def _add_hooks(self, first: int) -> list[RemovableHandle]:
        """Register what runs within the block; `first` is the layer before which is selected."""

    def _choose(self, features: torch.Tensor) -> npt.NDArray[np.bool_]:
        """`[F, N]`: the tokens of `features[F, N, D]` that are kept; the device is waited for."""
        self.kept = self._merging.keep(features).cpu()
        chosen = np.zeros(features.shape[:2], dtype=np.bool_)
        chosen.ravel()[self.kept.numpy()] = True
        return chosen

    def _run(self, running: list[Attending] | None) -> None:
        """From here on attention keeps to that; None is the stock one."""
        _here.running = running


class MergedVision(TowerInPart):
    """A tower that has frames along an axis of their own."""

    def __init__(self, model: Any, tower: Tower, merging: BeforeVision) -> None:
        super().__init__(model, tower, merging)
        self._model, self._family_tower = model, tower
        # `[N, P]`: how much of each patch is in each visual token, and 1 where that is any
        self._weights: torch.Tensor | None = None
        self._shares = np.zeros(0, dtype=np.float32)
        self._window: TowerPass | None = None

    def _add_hooks(self, first: int) -> list[RemovableHandle]:
        return [
            before_forward(self._layers[first], self._before_layer),
            after_forward(self._tower, self._after_tower),
        ]

    def _before_layer(
        self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Arguments:
        hidden = args[0]
        frames, patches = hidden.shape[:2]
        if self._weights is None:
            self._weights = self._family_tower.pooling(self._model, patches, hidden.device)
            self._shares = (self._weights > 0).float().cpu().numpy()
        # Tokens are selected by their pooled patches, as the language model would get them.
        chosen = self._choose(self._weights.to(hidden) @ hidden)
        # A patch goes on if any kept token has a share of it: [F, N] @ [N, P].
        needed = chosen.astype(np.float32) @ self._shares > 0
        references = self._merging.references(frames)
        # The class token isn't needed for any visual token, but for whole frames to be whole.
        needed[[other is None for other in references]] = True
        self._window = TowerPass.of(needed, references, hidden.device)
        self._run(self._window.attending([0, patches]))
        return (self._window.gather(hidden), *args[1:]), kwargs

    def _after_tower(self, output: Any) -> Any:
        """Whole frames from here on: of the last layer, and of earlier ones that were requested."""
        assert self._window is not None, "selected before a layer"
        self._run(None)
        whole = self._window.whole
        output.last_hidden_state = whole(output.last_hidden_state)
        if output.hidden_states is not None:  # None for a layer that wasn't requested
            output.hidden_states = tuple(map(whole, output.hidden_states))
        return output


def _keeping_apart(stock: Attention, _: str) -> Attention:
    def attention(
        module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor,
        attention_mask: torch.Tensor | None, scaling: float, **kwargs: Any,
    ) -> Any:  # fmt: skip
        running: list[Attending] | None = getattr(_here, "running", None)
        if running is None:
            return stock(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
        kwargs = {name: value for name, value in kwargs.items() if name not in _SEQUENCE_ARGUMENTS}
        # Queries are those of patches that go on alone; keys and values are of whole frames, the
        # rest of them another frame's.
        output = None
        for part in running:
            queries = part.batched(query, part.queries)
            keys, values = (part.batched(each, part.keys) for each in (key, value))
            # Processors make whole pictures of frames: there is no padding to mask.
            found = stock(module, queries, keys, values, None, scaling=scaling, **kwargs)[0]
            if output is None:
                output = found.new_empty(1, query.shape[2], *found.shape[2:])
            output[0].index_copy_(0, part.queries.to(found.device), found.flatten(0, 1))
        return output, None

    return attention


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
