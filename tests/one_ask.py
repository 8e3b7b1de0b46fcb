"""`python -m tests.one_ask`: one question, and what of the package it enters, as JSON.

Kernels and number format are chosen, so that the processor doesn't decide which files there are.
"""

from __future__ import annotations

import importlib
import json
import sys
import threading
from types import FrameType
from typing import Any

from tests.imports import PACKAGE, SRC

ROOT = f"{SRC / PACKAGE}/"
SELECTION = "compression/ttm.py", "keep_indices"
QUESTION = (
    *("ask", "sample_videos/move.mp4", "What does the blue star do?", "--method", "dycoke"),
    *("--model", "mini", "--device", "cpu", "--dtype", "float32", "--kernels", "stock", "--quiet"),
)

files: set[str] = set()
"""Whose functions were called, or whose classes were defined."""
above: list[str] = []
"""Frames of ours above the selection, the nearest first."""


def place(frame: FrameType) -> tuple[str, str] | None:
    """File and function of a frame of ours; a module that is imported is none."""
    code = frame.f_code
    if not code.co_filename.startswith(ROOT) or code.co_name == "<module>":
        return None
    return code.co_filename.removeprefix(ROOT), code.co_qualname


def note(frame: FrameType, event: str, argument: Any) -> None:
    """Note a call."""
    if event != "call" or (at := place(frame)) is None:
        return
    files.add(at[0])
    if at == SELECTION and not above:
        caller = frame.f_back
        while caller is not None:
            above.extend([" ".join(found)] if (found := place(caller)) else [])
            caller = caller.f_back


if __name__ == "__main__":
    for library in ("torch", "transformers"):  # without a note of each call of theirs
        importlib.import_module(library)
    threading.setprofile(note)
    sys.setprofile(note)
    from dycoke_cli.cli.main import main

    code = main([*QUESTION])
    sys.setprofile(None)
    threading.setprofile(None)
    if code:
        sys.exit(code)
    print(json.dumps({"files": len(files), "frames": len(above), "above": above}, indent=1))
