"""Limits on untrusted JSON, checked before it is parsed.

A parsed value takes up to a hundred times its text: 50 MB of `[[],[],…]` become 1.3 GB.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

# Its end is optional and nothing is tried twice (possessive), so that a string without an end, or
# one full of escapes, takes linear time.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?+', re.DOTALL)
_STEPS = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_OTHERS = bytes(set(range(256)) - _STEPS.keys())


class BoundsError(ValueError):
    """A document exceeds a limit; the message says which, as in "it has more than 9 values"."""


@dataclass(frozen=True)
class Bounds:
    """Limits on a JSON document."""

    nbytes: int = 16 * 1024**2  # length as UTF-8
    values: int = 1_000_000  # number of lists, objects and their members
    depth: int = 64  # nested lists and objects

    def check_length(self, length: int) -> None:
        """Check a number of bytes."""
        if length > self.nbytes:
            raise BoundsError(f"it is larger than {self.nbytes:,} bytes")

    def check_values(self, count: int) -> None:
        """Check a number of values."""
        if count > self.values:
            raise BoundsError(f"it has more than {self.values:,} values")

    def check(self, content: bytes) -> None:
        """Check a document that a library is about to parse."""
        self.check_length(len(content))
        if count_values(content) <= min(self.values, self.depth):
            return
        if b"\0" in content:  # UTF-16 or UTF-32, which the json module takes as well
            raise BoundsError("it isn't UTF-8")
        bare = _STRING.sub(b"", content)
        self.check_values(count_values(bare))
        steps = bare.translate(None, _OTHERS)
        if len(steps) > 2 * self.values:
            raise BoundsError("it has more brackets that close than that open")
        if max(accumulate(map(_STEPS.__getitem__, steps)), default=0) > self.depth:
            raise BoundsError(f"it is nested more than {self.depth} deep")


def count_values(content: bytes) -> int:
    """Number of values in JSON without strings, or an upper limit of it in any JSON."""
    return sum(map(content.count, (b"[", b"{", b",")))


def parse(content: bytes, bounds: Bounds | None = None) -> Any:
    """Parse an untrusted document within limits.

    Args:
        content: UTF-8.
        bounds: None for the defaults.
    """
    (bounds or Bounds()).check(content)
    return json.loads(content.decode("utf-8-sig"))
