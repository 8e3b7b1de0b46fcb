"""Files that a command makes: tables, times for editors and players, reports, pages and pictures.

Those of a journal are made anew when the run ends. What somebody has changed since is never
replaced: the hash of each file that was written is kept in the cache folder.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from dycoke_cli.errors import OutputError
from dycoke_cli.storage.cache_folder import kept, make_folder
from dycoke_cli.storage.input_file import read_file, read_lines
from dycoke_cli.storage.output_file import replace_content, replace_own, short_name


def check_replaceable(path: Path, *, resumes: bool = True) -> None:
    """Refuse a file that is there, unless an earlier run made it and nobody has changed it since.

    Args:
        resumes: whether the file may be that of an earlier run.
    """
    if path.exists() and not (resumes and is_unchanged(path)):
        changed = resumes and _hashes(path).exists()
        why = "was changed since it was written" if changed else "exists"
        raise OutputError(
            f"{short_name(path)} {why}, and stays as it is; name another file, or delete it"
        )


def write_made(path: Path, content: bytes, flag: str = "--out") -> bool:
    """Write a file; after a crash it is the earlier or the new one.

    Returns:
        Whether it is written; a file that is there by now stays, unless `write_made` wrote it.
    """
    # Where the folder can't be written, the file counts as changed later, and is kept.
    with suppress(OSError):
        hashes = _hashes(path)
        make_folder(hashes.parent)
        earlier = read_file(hashes) if hashes.exists() else b""
        # The last one counts until the file is replaced.
        both = [*earlier.split()[-1:], hashlib.sha256(content).hexdigest().encode()]
        replace_content(hashes, b"\n".join(both), 0o600)
    return replace_own(path, content, lambda there: _wrote(path, there), flag)


def stays(paths: Sequence[Path]) -> OutputError:
    """Error about files that `write_made` didn't write."""
    names = ", ".join(short_name(path) for path in paths)
    return OutputError(
        f"{names}: written by another program meanwhile, and stays as it is; move it away and run "
        "the same command again"
    )


def is_unchanged(path: Path) -> bool:
    """Whether a file is as `write_made` wrote it."""
    try:
        return _wrote(path, read_file(path))
    except OSError:
        return False


def _wrote(path: Path, content: bytes) -> bool:
    try:
        return hashlib.sha256(content).hexdigest().encode() in read_file(_hashes(path)).split()
    except OSError:
        return False


def lines_of(journal: Path, keys: Collection[str]) -> list[dict[str, Any]]:
    """What a journal says about some questions, in the order of their keys."""
    wanted, found = {*keys}, dict[str, dict[str, Any]]()
    for line in map(json.loads, read_lines(journal)):
        if line["key"] in wanted:  # of two lines the later one counts
            found[line["key"]] = line
    return [found[key] for key in keys if key in found]


def _hashes(path: Path) -> Path:
    return kept("times") / hashlib.sha256(bytes(path.absolute())).hexdigest()[:32]
