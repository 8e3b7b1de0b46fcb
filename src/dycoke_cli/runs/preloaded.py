"""The engine, for the process that workers are forked from: importing this module imports it."""

from __future__ import annotations

import atexit
import os
import threading
from importlib import import_module

from dycoke_cli.importing import uncollected

_POLL_S = 0.05


def _end_with(parent: int, imported: threading.Event) -> None:
    """End this process when its parent does before the imports are done.

    Until then it heeds nothing, and holds the stdout that a reader waits for the end of.
    """
    while not imported.wait(_POLL_S):
        if os.getppid() != parent:
            os._exit(1)


_imported = threading.Event()
_watch = threading.Thread(target=_end_with, args=(os.getppid(), _imported))
_watch.start()
try:
    with uncollected():
        import_module("dycoke_cli.runs.answering")
finally:
    _imported.set()
    _watch.join()  # a fork copies no threads, and what they hold stays locked
# Taking torch apart takes up to a second, which a reader of stdout would wait for, too.
atexit.register(os._exit, 0)
