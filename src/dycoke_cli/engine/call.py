"""One `generate()` call on shortened prompts: what its layers and decoding steps need to know."""

from __future__ import annotations

import weakref
from dataclasses import dataclass, replace
from typing import Any

import torch

from dycoke_cli.engine.deepstack import DeepStack
from dycoke_cli.engine.kv_cache import KVStore
from dycoke_cli.engine.narrowing import Narrowing
from dycoke_cli.engine.row import Row

CALL_ARGUMENT = "dycoke_call"


@dataclass
class Call:
    """What is known of a call.

    Args:
        rows: of the batch.
        next_positions: `[..., B, 1]`, int64: of the tokens to come.
        keep: `[B, R]`, bool: false in the padding of the shortened prompts; None without padding.
        held: the store of keys and values; None where the stock cache holds them. It isn't kept
            alive: when the call is over, its memory is free at once.
        layer: whose attention the choice of a decoding step is made from, or None.
        narrowing: the choice while the prompt is read, or None.
        deepstack: what is added behind the first layers while the prompt is read, or None.
        reading_prompt: whether no decoding step was made yet.
    """

    rows: list[Row]
    next_positions: torch.Tensor
    keep: torch.Tensor | None
    held: weakref.ref[KVStore] | None
    layer: int | None = None
    narrowing: Narrowing | None = None
    deepstack: DeepStack | None = None
    reading_prompt: bool = True

    @property
    def store(self) -> KVStore | None:
        """The store, as long as the call runs."""
        return None if self.held is None else self.held()

    def begin_step(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        """The arguments of the text decoder for one decoding step on the shortened sequences."""
        self.reading_prompt = False
        step = kwargs | {"attention_mask": None, "position_ids": self.next_positions}
        self.next_positions = self.next_positions + 1
        if self.store is not None:
            self.store.begin_step()
            return step | {CALL_ARGUMENT: self}
        if self.keep is not None:  # the new token is no padding
            self.keep = torch.nn.functional.pad(self.keep, (0, 1), value=True)
        return step | {"attention_mask": self.keep}

    def of_stretch(self, start: int, stop: int) -> Call:
        """What layers need to know while the rows `start` … `stop` - 1 are read alone."""
        stacked = self.deepstack
        return replace(self, deepstack=stacked and stacked.of_stretch(start, stop))

    def before_layer(
        self, number: int, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments of a decoder layer while the prompt is read."""
        narrowing = self.narrowing
        if self.deepstack is not None:
            behind = narrowing is not None and number > narrowing.layer
            rows = narrowing.rows if narrowing is not None and behind else None
            args = (self.deepstack.add(args[0], number, rows), *args[1:])
        if narrowing is not None and number >= narrowing.layer:
            return narrowing.narrow(args, kwargs, number)
        return args, kwargs

    def scores_at(self, layer_idx: int) -> bool:
        """Whether the attention of this layer, in this forward, is what a choice is made from."""
        if self.reading_prompt:
            return self.narrowing is not None and layer_idx == self.narrowing.layer - 1
        return layer_idx == self.layer

    def choose(self, attention: list[torch.Tensor]) -> None:
        """Make the choice of this forward; the layers behind follow it.

        Args:
            attention: for each row of the batch `[R - padding]`, float32: of its last query to all
                its keys.
        """
        to_visual = [
            weights[row.visual.to(weights.device) - row.padding]
            for row, weights in zip(self.rows, attention, strict=True)
        ]
        if self.reading_prompt:
            assert self.narrowing is not None
            self.narrowing.choose(to_visual[0])
            return
        assert self.store is not None
        self.store.arrange(
            [
                None if row.selector is None else row.choose(weights)
                for row, weights in zip(self.rows, to_visual, strict=True)
            ]
        )
