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

ROOT = str(SRC / PACKAGE)
SELECTION = (f"{ROOT}/compression/ttm.py", "keep_indices")
QUESTION = (
    *("ask", "sample_videos/move.mp4", "What does the blue star do?", "--method", "dycoke"),
    *("--model", "mini", "--device", "cpu", "--dtype", "float32", "--kernels", "stock", "--quiet"),
)

files: set[str] = set()
"""Whose functions were called, or whose classes were defined."""
ways: list[list[str]] = []
"""For each call of the selection the files of the frames above it."""


def note(frame: FrameType, event: str, argument: Any) -> None:
    """Note a call."""
    code = frame.f_code
    if event != "call" or not _is_ours(frame):
        return
    files.add(code.co_filename)
    if (code.co_filename, code.co_name) == SELECTION:
        above, at = [], frame.f_back
        while at is not None:
            above += [at.f_code.co_filename] * _is_ours(at)
            at = at.f_back
        ways.append(above)


def _is_ours(frame: FrameType) -> bool:
    code = frame.f_code
    return code.co_filename.startswith(ROOT) and code.co_name != "<module>"


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
    longest = max(ways, key=len)
    numbers = {
        "ask.entered": len(files),
        "ask.frames": len(longest),
        "ask.frame_files": len({*longest}),
    }
    print(json.dumps(numbers))
