"""The vision encoder's attention to each visual token, for methods that request it.

It is read off one layer, as that layer is about to attend: queries and keys give the same weights
that it attends with, one frame at a time, and the layer itself runs the stock function unchanged.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import torch

from dycoke_cli.engine.scoring_attention import AttentionSwitch
from dycoke_cli.errors import UsageError
from dycoke_cli.models.families import family_of
from dycoke_cli.stock.attention import Attention

_here = threading.local()


@dataclass(frozen=True)
class TowerAttention:
    """The vision encoder's attention and keys of a video, as `SelectionInputs` has them."""

    attention: torch.Tensor  # `[F, N]`, float32: to each visual token
    keys: torch.Tensor  # `[F, N, K]`, float32: in the mean over heads

    def at(self, frames: Sequence[int]) -> TowerAttention:
        """That of some frames, in this order."""
        at = torch.tensor(frames).to(self.attention.device)
        return TowerAttention(self.attention[at], self.keys[at])

    @classmethod
    def cat(cls, parts: Sequence[TowerAttention]) -> TowerAttention:
        """That of frames that were encoded one after the other."""
        return cls(torch.cat([p.attention for p in parts]), torch.cat([p.keys for p in parts]))


class TowerRecorder:
    """Within the block, notes the attention of the frames that this thread encodes."""

    def __init__(self, model: Any) -> None:
        tower = family_of(model.config).tower
        assert tower is not None, "checked before"
        self._model, self._family_tower = model, tower
        self._tower = model.model.get_submodule(tower.name)
        self._parts = set(tower.last_used(model).modules())
        self._weights: torch.Tensor | None = None
        self._recorded: list[TowerAttention] = []

    def __enter__(self) -> TowerRecorder:
        _switch.enter(self._tower)
        _here.recorders = [*_recorders(), self]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _here.recorders = [other for other in _recorders() if other is not self]
        _switch.leave(self._tower)

    def take(self) -> TowerAttention | None:
        """What was noted since the last time, frame by frame, or None where that is nothing."""
        recorded, self._recorded = self._recorded, []
        return TowerAttention.cat(recorded) if recorded else None

    def note(self, module: Any, query: torch.Tensor, key: torch.Tensor, scaling: float) -> None:
        """Note a layer that is about to attend, unless it is another one.

        Args:
            module: its attention.
            query: `[F, H, P, K]`.
            key: the same shape.
            scaling: of the logits.
        """
        # The switch is of the whole tower, so every layer comes by; one of them is recorded.
        if module not in self._parts:
            return
        if self._weights is None:
            # A token gets the mean of its patches, whatever the family's weights add up to.
            weights = self._family_tower.pooling(self._model, key.shape[2], key.device)
            self._weights = weights / weights.sum(-1, keepdim=True)
        # A class token stands before a square of patches.
        with_class_token = math.isqrt(key.shape[2]) ** 2 + 1 == key.shape[2]
        queries = query[:, :, :1] if with_class_token else query
        received = [
            torch.softmax(q.float() @ k.float().mT * scaling, dim=-1).mean((0, 1))
            for q, k in zip(queries, key, strict=True)  # whole, that would be gigabytes
        ]
        pool = self._weights.to(received[0])
        attention = torch.stack(received) @ pool.mT
        self._recorded.append(TowerAttention(attention, pool @ key.float().mean(1)))


def split_by_video(recorded: TowerAttention | None, frames: Sequence[int]) -> list[TowerAttention]:
    """The attention to each video of a batch."""
    recorded_frames = 0 if recorded is None else len(recorded.attention)
    if recorded is None or recorded_frames != sum(frames):
        raise UsageError(
            f"the videos of this prompt have {sum(frames)} frames, but the vision encoder ran on "
            f"{recorded_frames} pictures while the method was attached; a method that needs its "
            "attention takes one video a prompt, no pictures beside it, encoded within the `with` "
            "block"
        )
    attention, keys = (part.split(list(frames)) for part in (recorded.attention, recorded.keys))
    return [TowerAttention(*part) for part in zip(attention, keys, strict=True)]


def _recorders() -> list[TowerRecorder]:
    return getattr(_here, "recorders", [])


def _recording(stock: Attention, _: str) -> Attention:
    def attention(
        module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor,
        attention_mask: torch.Tensor | None, scaling: float, **kwargs: Any,
    ) -> Any:  # fmt: skip
        for recorder in _recorders():
            recorder.note(module, query, key, scaling)
        return stock(module, query, key, value, attention_mask, scaling=scaling, **kwargs)

    return attention


_switch = AttentionSwitch(_recording)
