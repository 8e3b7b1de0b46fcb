"""Sharding of a benchmark's videos over several machines."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from dycoke_cli.errors import UsageError


@dataclass(frozen=True)
class Shard:
    """Shard of a benchmark's videos.

    A hash of a video's name determines its shard, independently of other videos: with a larger
    `--limit`, each machine keeps its videos.
    """

    number: int  # from 1 to `count`
    count: int  # of shards

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def has(self, video: str) -> bool:
        """Whether a video is in this shard."""
        # Not the hash that `--limit` sorts by: of the first videos, all its values are small.
        digest = hashlib.sha256(b"shard" + video.encode("utf-8", "surrogatepass")).digest()
        return int.from_bytes(digest[:8]) % self.count == self.number - 1


def parse_shard(text: str) -> Shard:
    """Parse the value of `--shard`, such as 1/2."""
    number, _, count = text.partition("/")
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise UsageError(f"--shard must be a number and a count, from 1/2 to 2/2, not {text!r}")
    return Shard(int(number), int(count))
