"""A safetensors file of any size, made while it is read: random numbers, none of them kept."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np

BYTES = {"F32": 4, "F16": 2, "BF16": 2}

# A prime, so that no two rows of a matrix are the same.
_BLOCK = 1_000_003
_SPREAD = 0.02


@dataclass(frozen=True)
class Tensor:
    """A tensor of a file."""

    name: str  # as published
    shape: tuple[int, ...]  # of it
    dtype: str  # as safetensors writes it: F32, F16 or BF16

    @property
    def size(self) -> int:
        """Bytes."""
        return math.prod(self.shape) * BYTES[self.dtype]

    @property
    def content(self) -> bytes:
        """What it repeats: 1 in norms, 0 in biases, as in a new model; else normal numbers."""
        if len(self.shape) > 1 or not self.name.endswith(("weight", "bias")):
            return _numbers(self.dtype)
        return _as_bytes(np.array([self.name.endswith("weight")]), self.dtype)


@dataclass(frozen=True)
class WeightFile:
    """A safetensors file, as a function of the range that is read."""

    tensors: Sequence[Tensor]  # in their order

    @cached_property
    def header(self) -> bytes:
        """What a file of safetensors begins with."""
        listed: dict[str, object] = {"__metadata__": {"format": "pt"}}
        end = 0
        for tensor in self.tensors:
            place = [end, end + tensor.size]
            listed[tensor.name] = {
                "dtype": tensor.dtype,
                "shape": tensor.shape,
                "data_offsets": place,
            }
            end += tensor.size
        text = json.dumps(listed).encode()
        text += b" " * (-len(text) % 8)
        return len(text).to_bytes(8, "little") + text

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return len(self.header) + sum(tensor.size for tensor in self.tensors)

    @cached_property
    def sha256(self) -> str:
        """Of the file, in hexadecimal."""
        digest = hashlib.sha256()
        for part in self.read(0, self.size):
            digest.update(part)
        return digest.hexdigest()

    def read(self, start: int, end: int) -> Iterator[bytes]:
        """The bytes from `start` to before `end`, in parts of some MB at most."""
        yield self.header[start:end]
        begin = len(self.header)
        for number, tensor in enumerate(self.tensors):
            first, last = max(start - begin, 0), min(end - begin, tensor.size)
            content = tensor.content
            # Another place to begin for each, so that no two matrices are the same.
            phase = number * 7919 * BYTES[tensor.dtype]
            while first < last:
                at = (phase + first) % len(content)
                part = content[at : at + last - first]
                if len(content) < 1024:  # one number
                    part = content * ((last - first) // len(content) + 2)
                    part = part[at : at + last - first]
                yield part
                first += len(part)
            begin += tensor.size


@cache
def _numbers(dtype: str) -> bytes:
    drawn = np.random.default_rng(0).normal(0, _SPREAD, _BLOCK)
    return _as_bytes(drawn, dtype)


def _as_bytes(numbers: np.ndarray, dtype: str) -> bytes:
    if dtype == "F16":
        return numbers.astype("<f2").tobytes()
    whole = numbers.astype("<f4")
    # bfloat16 is the upper half of float32.
    return whole.tobytes() if dtype == "F32" else (whole.view("<u4") >> 16).astype("<u2").tobytes()
