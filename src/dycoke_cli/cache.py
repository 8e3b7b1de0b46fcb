"""Where files are kept that can be made again: a folder of its own in the user's cache."""

from __future__ import annotations

import os
from pathlib import Path

ENVIRONMENT = "DYCOKE_CACHE"
"""Names the folder in place of the one in the user's cache."""


def cache_folder() -> Path:
    """The folder (it need not exist)."""
    named = os.environ.get(ENVIRONMENT)
    if named:
        return Path(named)
    users = os.environ.get("XDG_CACHE_HOME")
    return (Path(users) if users else Path.home() / ".cache") / "dycoke"
