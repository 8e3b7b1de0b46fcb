"""What clients call the videos that they sent."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable

_MOST = 10_000


class Handles:
    """Digests of videos by the handles that clients gave them.

    A handle has its owner in it: what one made, no other can name.
    """

    def __init__(self) -> None:
        self._handles: OrderedDict[Hashable, str] = OrderedDict()
        self._lock = threading.Lock()

    def name(self, handle: Hashable, digest: str) -> None:
        """Remember what a client calls a video."""
        with self._lock:
            self._handles[handle] = digest
            self._handles.move_to_end(handle)
            while len(self._handles) > _MOST:
                self._handles.popitem(last=False)

    def named(self, handle: Hashable) -> str | None:
        """The digest of the video that a client calls so."""
        with self._lock:
            return self._handles.get(handle)
