"""Sessions of encoded videos in memory; the least recently used are evicted."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import TYPE_CHECKING

from dycoke_cli.server.metrics import Metrics

if TYPE_CHECKING:
    from dycoke_cli.engine.session import VideoSession

_MOST_HANDLES = 10_000


class SessionCache:
    """Sessions by what was read, and digests by the handles that clients gave them.

    Keys and handles have the owner in them: what one made, no other can name.

    Args:
        most: sessions; each has its encoded frames, and what was prefilled of them.
        metrics: where their number is shown.
    """

    def __init__(self, most: int, metrics: Metrics) -> None:
        self._most, self._metrics = most, metrics
        self._sessions: OrderedDict[Hashable, VideoSession] = OrderedDict()
        self._handles: OrderedDict[Hashable, str] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, key: Hashable) -> VideoSession | None:
        """A session; None where it isn't cached."""
        with self._lock:
            if key in self._sessions:
                self._sessions.move_to_end(key)
            return self._sessions.get(key)

    def keep(self, key: Hashable, session: VideoSession) -> None:
        """Cache a session."""
        with self._lock:
            self._sessions[key] = session
            self._sessions.move_to_end(key)
            while len(self._sessions) > self._most:
                self._sessions.popitem(last=False)
            self._metrics.set("videos_held", len(self._sessions))

    def clear(self) -> bool:
        """Evict all sessions; whether there were any."""
        with self._lock:
            any_cached = bool(self._sessions)
            self._sessions.clear()
            self._metrics.set("videos_held", 0)
            return any_cached

    def name(self, handle: Hashable, digest: str) -> None:
        """Remember what a client calls a video."""
        with self._lock:
            self._handles[handle] = digest
            self._handles.move_to_end(handle)
            while len(self._handles) > _MOST_HANDLES:
                self._handles.popitem(last=False)

    def named(self, handle: Hashable) -> str | None:
        """The digest of the video that a client calls so."""
        with self._lock:
            return self._handles.get(handle)
