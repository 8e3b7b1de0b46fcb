"""Ctrl-C ends a run after the answers that are under way; a second one ends it at once."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from dycoke_cli.batch.listener import Listener


@contextmanager
def interruptible(listener: Listener) -> Iterator[None]:
    """Within the block, an interrupt is kept until the run has ended by itself.

    Args:
        listener: `stopping` is set; before it is `ready`, there is nothing to wait for.

    Raises:
        KeyboardInterrupt: at the end of the block, or at the second interrupt.
    """
    came = False

    def note(signum: int, frame: FrameType | None) -> None:
        nonlocal came
        if came or not listener.ready:
            raise KeyboardInterrupt
        came = listener.stopping = True

    before = signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came:
        raise KeyboardInterrupt
