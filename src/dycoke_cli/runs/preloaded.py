"""The engine, for the process that workers are forked from: importing this module imports it."""

from __future__ import annotations

import atexit
import os
from importlib import import_module

from dycoke_cli.stock.importing import faster_imports

with faster_imports():
    import_module("dycoke_cli.loop.answer_batch")
# Unloading torch takes up to a second, and a reader of our stdout would wait for that as well.
atexit.register(os._exit, 0)
