"""Output file of a plot, page or report: checked early, written atomically."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dycoke_cli.cli import render
from dycoke_cli.storage.output_file import check_output_file, check_suffix


def check_picture(path: Path, suffixes: Sequence[str], flag: str = "--plot") -> None:
    """Check that a plot can be written, and that only one that was written here is replaced.

    Args:
        suffixes: suffixes of the available formats, such as ".svg".
    """
    from dycoke_cli.storage.made_files import check_replaceable

    check_output_file(path, flag, "the new file would take its place")
    check_suffix(path, suffixes, flag)
    check_replaceable(path)


def write_picture(path: Path, content: bytes, flag: str = "--plot") -> bool:
    """Write a file; returns False, with a warning, where another one is there by now."""
    from dycoke_cli.storage.made_files import stays, write_made

    if not (written := write_made(path, content, flag)):
        render.warning(str(stays([path])))
    return written
