"""Large imports: torch, transformers and what they need are over 3,000 modules."""

from __future__ import annotations

import atexit
import gc
from collections.abc import Iterator
from contextlib import contextmanager

# Else those libraries which count at the end what is left of theirs complain on stderr.
atexit.register(gc.unfreeze)


@contextmanager
def uncollected() -> Iterator[None]:
    """Within the block, imports take about three quarters of the time: no garbage is collected.

    Modules aren't garbage, and a collector goes through all that are there again and again. It
    leaves alone for good what is there at the end, so that forked processes go on sharing it.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if collecting:
            gc.enable()
