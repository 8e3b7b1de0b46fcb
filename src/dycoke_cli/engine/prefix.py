"""What all prompts about a video begin with, read by the language model once.

Keys and values depend on what came before alone: up to the last visual token, that is the same for
every question. So later questions cost their own text.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import Any

import torch

from dycoke_cli.engine import digests

# A question and its uncompressed twin (--compare) take turns.
MOST_HELD = 2

Rows = list[tuple[torch.Tensor, torch.Tensor]]


class VideoPrefix:
    """Keys and values of prompts up to the last visual token, for each way in which it was read."""

    def __init__(self) -> None:
        self._held: OrderedDict[bytes, Rows] = OrderedDict()

    def restore(self, key: bytes, cache: Any) -> bool:
        """Fill a fresh cache with what was read before; whether there was anything."""
        rows = self._held.get(key)
        if rows is None:
            return False
        self._held.move_to_end(key)
        for number, (keys, values) in enumerate(rows):
            cache.update(keys, values, number)
        return True

    def keep(self, key: bytes, cache: Any) -> None:
        """Keep what a cache holds, as it stands: `[1, H, P, D]` a layer, in reading order."""
        self._held[key] = [_rows(layer) for layer in cache.layers]
        while len(self._held) > MOST_HELD:
            self._held.popitem(last=False)


def key_of(kwargs: dict[str, Any], length: int) -> bytes:
    """A digest of the first `length` rows of a prompt, as the text decoder is about to read them.

    Args:
        kwargs: of the text decoder: `inputs_embeds` [1, R, D], `position_ids` [..., 1, R] or None.
        length: P, up to the last visual row.
    """
    digest = hashlib.blake2b(digest_size=16)
    positions = kwargs.get("position_ids")
    digests.add(digest, kwargs["inputs_embeds"][:, :length])
    if positions is not None:
        digests.add(digest, positions[..., :length])
    return digest.digest()


def _rows(layer: Any) -> tuple[torch.Tensor, torch.Tensor]:
    held = getattr(layer, "attended", None)
    if held is None:  # a stock layer makes new tensors when it grows
        return layer.keys, layer.values
    keys, values = held()
    return keys.clone(), values.clone()
