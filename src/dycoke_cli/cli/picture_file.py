"""The file of `--plot`: refused before anything takes time, and written whole or not at all."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

from dycoke_cli.errors import OutputError, UsageError
from dycoke_cli.unicode import display_name


def check_picture(path: Path, suffixes: Sequence[str]) -> None:
    """Refuse what can't be written.

    Args:
        path: of `--plot`.
        suffixes: of the formats that there are, such as ".svg".

    Raises:
        UsageError: another format, or a folder.
        OutputError: there is no folder for it, or something else has its name.
    """
    name = display_name(path)
    if path.suffix.lower() not in suffixes:
        formats = " or ".join(suffix[1:].upper() for suffix in suffixes)
        raise UsageError(
            f"--plot {name}: the picture is {formats}; name a file that ends in "
            f"{' or '.join(suffixes)}"
        )
    if path.is_dir():
        raise UsageError(f"--plot {name} is a folder; give a file")
    if path.exists() and not path.is_file():
        raise OutputError(f"--plot {name} isn't a file; the picture would take its place")
    if not path.parent.is_dir():
        raise OutputError(
            f"--plot {name}: there is no folder {display_name(path.parent)}; make it first"
        )


def write_picture(path: Path, content: bytes) -> None:
    """Write a file, in place of what has its name.

    Raises:
        OutputError: it can't be written.
    """
    partial = path.with_name(path.name + ".part")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise OutputError(
            f"{display_name(path)} can't be written ({error.strerror}); name another file"
        ) from error
