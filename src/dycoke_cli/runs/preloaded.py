"""The engine, for the process that workers are forked from: importing this module imports it."""

from __future__ import annotations

from importlib import import_module

from dycoke_cli.stock.quiet import faster_imports

with faster_imports():
    import_module("dycoke_cli.loop.answer_batch")
