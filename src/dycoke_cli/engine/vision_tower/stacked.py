"""Merging before vision: patches of dropped tokens don't go through the tower.

The first layers run on every patch, since their output shows better than raw pixels what is new.
Behind them the selection is made. From there on a compared frame has the patches of its kept tokens
only; in place of its other patches it attends to the keys and values of the frame that it was
compared with. So the tower's cost falls to the share that is kept, and if the other patches are
equal in both frames, the embeddings are exact.

To the stock layers, which work patch by patch, all kept patches of a window are one sequence; an
attention function separates the frames. This file is for towers with frames along an axis of their
own; `packed.py` is for those with all frames in one sequence.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import pairwise
from types import TracebackType
from typing import Any, Self

import torch
from torch.utils.hooks import RemovableHandle

from dycoke_cli.compression.base import BeforeVision
from dycoke_cli.engine.thread_hook import Arguments, after_forward, before_forward
from dycoke_cli.models.families import PackedTower, Tower
from dycoke_cli.stock.attention import Attention, WrappedAttention

# Layers that run on all patches before the selection.
LAYERS_BEFORE = 2
# Arguments of flash attention about several sequences in one; here each is a call of its own.
_SEQUENCE_ARGUMENTS = ("cu_seq_lens_q", "cu_seq_lens_k", "max_length_q", "max_length_k")
# Attention functions are those of the process, so what runs is found by thread.
_here = threading.local()


@dataclass(frozen=True)
class TowerPass:
    """The frames that go through the tower together."""

    patches: list[torch.Tensor]  # for each frame the patches `[n]`, int64, ascending, that go on
    # for each frame the earlier one that represents its other patches, or None where it goes on
    # whole
    references: list[int | None]

    def gather(self, hidden: torch.Tensor) -> torch.Tensor:
        """The patches `[1, Σn, D]` that go on of `hidden[F, P, D]`."""
        return torch.cat([frame[at] for frame, at in zip(hidden, self.patches, strict=True)])[None]

    def whole(self, patches: torch.Tensor | None) -> torch.Tensor | None:
        """The output of any layer as whole frames `[F, P, D]`; before the selection it is whole."""
        if patches is None or len(patches) > 1:
            return patches
        return self.restore(patches[0])

    def restore(self, patches: torch.Tensor) -> torch.Tensor:
        """Whole frames `[F, ..., P, D]` of `patches[..., Σn, D]`; the rest is the references'."""
        whole: list[torch.Tensor] = []
        parts = patches.split([len(at) for at in self.patches], dim=-2)
        for part, at, reference in zip(parts, self.patches, self.references, strict=True):
            # Its reference comes earlier, so it is whole by now.
            frame = part if reference is None else whole[reference].index_copy(-2, at, part)
            whole.append(frame)
        return torch.stack(whole)

    def counts(self, bounds: list[int]) -> list[list[int]]:
        """For each frame how many of its patches go on in each of its parts."""
        # Patches ascend, so how many lie before each bound is a binary search, and a part's count
        # the difference of two.
        ends = torch.tensor(bounds)
        return [torch.searchsorted(at.cpu(), ends).diff().tolist() for at in self.patches]


@dataclass(frozen=True)
class Running:
    """What attends to what in a layer behind the selection."""

    window: TowerPass  # the frames
    # the patch with which each part of a frame begins, and that behind the last one; patches attend
    # to those of their own part
    bounds: list[int]
    counts: list[list[int]]  # for each frame how many of its patches go on in each part


class TowerInPart(ABC):
    """Within the block, this thread's videos run through the tower of a model in part.

    Attributes:
        kept: of the window that ran last: flat indices `frame*N + position`, int64.
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

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for hook in self._hooks:
            hook.remove()
        self._attention.remove()
        self._run(None)

    @abstractmethod
    def _add_hooks(self, first: int) -> list[RemovableHandle]:
        """Register what runs within the block; `first` is the layer before which is selected."""

    def _run(self, running: Running | None) -> None:
        """From here on attention keeps to that; None is the stock one."""
        _here.running = running

    @property
    def _running(self) -> Running | None:
        return getattr(_here, "running", None)


class MergedVision(TowerInPart):
    """A tower that has frames along an axis of their own."""

    def __init__(self, model: Any, tower: Tower, merging: BeforeVision) -> None:
        super().__init__(model, tower, merging)
        self._model, self._family_tower = model, tower
        self._weights: torch.Tensor | None = None

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
        # Tokens are selected by their pooled patches, as the language model would get them.
        weights = self._pooling(hidden)
        self.kept = self._merging.keep(weights.to(hidden) @ hidden)
        is_kept = torch.zeros(frames, len(weights), dtype=torch.bool, device=hidden.device)
        is_kept.view(-1)[self.kept] = True
        # A patch goes on if any kept token has a share of it: [F, N] @ [N, P].
        needed = (is_kept.float() @ (weights > 0).float()) > 0
        references = self._merging.references(frames)
        # The class token isn't needed for any visual token, but for whole frames to be whole.
        needed[[other is None for other in references]] = True
        window = TowerPass([patches.nonzero().flatten() for patches in needed], references)
        bounds = [0, patches]
        self._run(Running(window, bounds, window.counts(bounds)))
        return (window.gather(hidden), *args[1:]), kwargs

    def _after_tower(self, output: Any) -> Any:
        """Whole frames from here on: of the last layer, and of earlier ones that were requested."""
        running = self._running
        assert running is not None, "selected before a layer"
        self._run(None)
        whole = running.window.whole
        output.last_hidden_state = whole(output.last_hidden_state)
        if output.hidden_states is not None:  # None for a layer that wasn't requested
            output.hidden_states = tuple(map(whole, output.hidden_states))
        return output

    def _pooling(self, hidden: torch.Tensor) -> torch.Tensor:
        """`[N, P]`: how much of each patch is in each visual token."""
        if self._weights is None:
            patches = hidden.shape[1]
            self._weights = self._family_tower.pooling(self._model, patches, hidden.device)
        return self._weights


def _keeping_apart(stock: Attention, _: str) -> Attention:
    def attention(
        module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor,
        attention_mask: torch.Tensor | None, scaling: float, **kwargs: Any,
    ) -> Any:  # fmt: skip
        running: Running | None = getattr(_here, "running", None)
        if running is None:
            return stock(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
        kwargs = {name: value for name, value in kwargs.items() if name not in _SEQUENCE_ARGUMENTS}
        keys, values = running.window.restore(key[0]), running.window.restore(value[0])
        # Queries are those of kept patches alone, in order of frames and their parts; keys and
        # values of whole frames, the rest of them another frame's.
        parts = iter(query.split([n for frame in running.counts for n in frame], dim=2))
        outputs = []
        for frame in range(len(keys)):
            for begin, end in pairwise(running.bounds):
                part = next(parts)
                if part.shape[2] == 0:  # no patch of it is kept: no queries
                    continue
                attended = (x[frame : frame + 1, :, begin:end] for x in (keys, values))
                # Processors make whole pictures of frames: there is no padding to mask.
                outputs.append(stock(module, part, *attended, None, scaling=scaling, **kwargs)[0])
        return torch.cat(outputs, dim=1), None

    return attention
