"""Conversations of earlier responses, by their ids; the least recently used are evicted."""

from __future__ import annotations

import sys
import threading
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass

from dycoke_cli.server.media_options import JpegTimes
from dycoke_cli.server.messages import VideoPart
from dycoke_cli.video.sampling import Sampling

_MOST = 1000
_MOST_BYTES = 16 * 1024**2


@dataclass(frozen=True)
class HeldResponse:
    """A conversation up to a response."""

    turns: tuple[tuple[str, str], ...]  # questions with their answers, without instructions
    videos: tuple[VideoPart, ...]  # of all turns, by their handles
    sampling: Sampling  # by which frames of these were read
    times: JpegTimes  # of those that are pictures
    max_tokens: int | None = None  # visual tokens that were read of them at most; None for no limit

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return _size_of(self)


class ResponseStore:
    """Conversations by owner and id of their last responses, within limits of number and bytes."""

    def __init__(self) -> None:
        self._held: OrderedDict[Hashable, HeldResponse] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def find(self, response: Hashable) -> HeldResponse | None:
        """The conversation up to a response; None where it isn't held."""
        with self._lock:
            if response in self._held:
                self._held.move_to_end(response)
            return self._held.get(response)

    def keep(self, response: Hashable, held: HeldResponse) -> None:
        """Hold a conversation."""
        with self._lock:
            self._held[response] = held
            self._bytes += held.nbytes
            while len(self._held) > _MOST or self._bytes > _MOST_BYTES:
                self._bytes -= self._held.popitem(last=False)[1].nbytes


def _size_of(value: object) -> int:
    """Bytes of an object and of all that its attributes and entries refer to."""
    parts = value if isinstance(value, tuple) else getattr(value, "__dict__", {}).values()
    return sys.getsizeof(value) + sum(map(_size_of, parts))
