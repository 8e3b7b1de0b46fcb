"""Packages that only some features need: the extras of pyproject.toml."""

from __future__ import annotations

import re
import shlex
import sys
from importlib.metadata import PackageNotFoundError, requires


def how_to_install(extra: str) -> str:
    """The command that installs an extra's packages beside this one, be it a wheel or a clone."""
    try:
        listed = requires("dycoke-cli") or []
    except PackageNotFoundError:  # a folder of sources on PYTHONPATH
        listed = []
    ours = re.compile(rf"""extra == ['"]{extra}['"]""")
    wanted = [text.partition(";")[0].strip() for text in listed if ours.search(text)]
    command = [sys.executable, "-m", "pip", "install", *(wanted or [f"dycoke-cli[{extra}]"])]
    return shlex.join(command)
