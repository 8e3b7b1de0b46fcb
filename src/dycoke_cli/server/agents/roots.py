"""The files that an agent may name: those below the folders of the command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dycoke_cli.errors import UsageError
from dycoke_cli.unicode import display_name

_SHOWN = 200  # characters of a path


def file_below(roots: Sequence[Path], name: str) -> Path:
    """The file of a path, which is absolute or below one of some folders.

    Links are resolved before the check, so that neither they nor `..` lead outside. A file outside
    and one that isn't there get the same error: nobody learns what other folders have.

    Args:
        roots: the folders, the first of which is tried first.
        name: as given.

    Raises:
        UsageError: there is no such file below the folders.
    """
    resolved = [root.resolve() for root in roots]
    for root in resolved:
        try:
            real = (root / name).resolve(strict=True)
            inside = any(map(real.is_relative_to, resolved)) and real.is_file()
        except (OSError, ValueError, RuntimeError):
            continue
        if inside:
            return real
    folders = ", ".join(display_name(str(root)) for root in roots)
    raise UsageError(
        f"there is no file {display_name(name)[:_SHOWN]} below {folders}: name one by its whole "
        "path, or by its path from there"
    )
