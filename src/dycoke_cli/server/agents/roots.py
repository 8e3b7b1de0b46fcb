"""The files that an agent may name: those below the folders of the command line."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from dycoke_cli.errors import UsageError
from dycoke_cli.runs.file_walk import walk
from dycoke_cli.unicode import display_name
from dycoke_cli.video.files import is_video

_SHOWN = 200  # characters of a path
_LISTED = 10  # videos
_FOLDERS = 1000  # that are searched for them


def file_below(roots: Sequence[Path], name: str) -> Path:
    """The file of a path, which is absolute or below one of some folders.

    Links are resolved before the check, so that neither they nor `..` lead outside. A file outside
    and one that isn't there get the same error: nobody learns what other folders have. The error
    lists some of the videos below the folders, because an agent has no other way to find them.

    Args:
        name: as given.
    """
    resolved = [root.resolve() for root in roots]
    for root in resolved:
        if (file := _inside(root, name, resolved)) is not None:
            return file
    folders = ", ".join(display_name(str(root)) for root in roots)
    raise UsageError(
        f"there is no file {display_name(name)[:_SHOWN]} below {folders}: {_videos(resolved)}"
    )


def _inside(root: Path, name: str, roots: Sequence[Path]) -> Path | None:
    """The file of a path below a folder, if it is in one of the folders once links are resolved."""
    try:
        real = (root / name).resolve(strict=True)
        return real if any(map(real.is_relative_to, roots)) and real.is_file() else None
    except (OSError, ValueError, RuntimeError):
        return None


def _videos(roots: Sequence[Path]) -> str:
    """Some of the videos below the folders, by their paths from there."""
    paths = (
        os.path.join(inside, name)
        for root in roots
        for inside, _, names in islice(walk(str(root)), _FOLDERS)
        for name in names
        if is_video(name) and _inside(root, os.path.join(inside, name), roots)
    )
    first = [display_name(path)[:_SHOWN] for path in islice(paths, _LISTED + 1)]
    listed = ", ".join(sorted(first[:_LISTED])) or "no videos"
    return f"there are {listed}" + (", and others" if len(first) > _LISTED else "")
