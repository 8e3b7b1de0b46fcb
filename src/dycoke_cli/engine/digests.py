"""Tensors in digests: what was computed from the very same numbers need not be computed again."""

from __future__ import annotations

from typing import Protocol

import torch


class Digest(Protocol):
    """What `hashlib` makes."""

    def update(self, data: memoryview, /) -> None:
        """Take in bytes."""


def add(digest: Digest, tensor: torch.Tensor) -> None:
    """Take in the bytes of a tensor of any shape and dtype, wherever it is."""
    digest.update(tensor.contiguous().cpu().flatten().view(torch.uint8).numpy().data)
