"""Hashes of tensors, to reuse what was computed from identical ones."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Protocol

import torch


class Digest(Protocol):
    """What `hashlib` makes."""

    def update(self, data: memoryview, /) -> None:
        """Take in bytes."""


def add_tensor(digest: Digest, tensor: torch.Tensor) -> None:
    """Take in the bytes of a tensor of any shape and dtype, on any device."""
    digest.update(tensor.contiguous().cpu().flatten().view(torch.uint8).numpy().data)


def tensor_hash(tensors: Iterable[torch.Tensor]) -> bytes:
    """A hash of the bytes of tensors, of 16 bytes, to compare within this process."""
    digest = hashlib.blake2b(digest_size=16)
    for tensor in tensors:
        add_tensor(digest, tensor)
    return digest.digest()
