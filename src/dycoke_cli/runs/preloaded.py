"""The engine, for the process that workers are forked from: importing this module imports it."""

from __future__ import annotations

import atexit
import os
from importlib import import_module

from dycoke_cli.stock.importing import uncollected

with uncollected():
    import_module("dycoke_cli.runs.answering")
# Taking torch apart takes up to a second, which a reader of stdout would wait for, too.
atexit.register(os._exit, 0)
