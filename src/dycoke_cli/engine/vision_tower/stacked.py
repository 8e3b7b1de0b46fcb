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
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.hooks import RemovableHandle

from dycoke_cli.compression.method import BeforeVision
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
