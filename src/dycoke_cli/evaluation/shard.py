"""Videos dealt to several machines, each of which answers about its own."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from dycoke_cli.errors import UsageError


@dataclass(frozen=True)
class Shard:
    """One of several shares of a benchmark's videos.

    A video falls to a shard by a hash of its name, whatever the others are: with a larger `--limit`
    each machine keeps the videos that it had.

    Args:
        number: from 1 to `count`.
        count: of shards.
    """

    number: int
    count: int

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def has(self, video: str) -> bool:
        """Whether a video falls to this one."""
        # Not the key that `--limit` sorts by, whose first videos have small ones.
        digest = hashlib.sha256(b"shard" + video.encode("utf-8", "surrogatepass")).digest()
        return int.from_bytes(digest[:8]) % self.count == self.number - 1


def parse_shard(text: str) -> Shard:
    """Read what `--shard` says, such as 1/2.

    Raises:
        UsageError: it isn't a number and a count of at least as much.
    """
    number, _, count = text.partition("/")
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise UsageError(f"--shard must be a number and a count, from 1/2 to 2/2, not {text!r}")
    return Shard(int(number), int(count))
