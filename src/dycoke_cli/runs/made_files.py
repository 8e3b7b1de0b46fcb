"""Files that a run makes of its journal: tables, and times for editors and players.

They are made anew when the run ends. What somebody has changed since is never replaced: the hash of
each file that was written is kept in the cache folder.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

from dycoke_cli.errors import OutputError
from dycoke_cli.storage.cache_folder import kept, make_folder
from dycoke_cli.storage.input_file import read_file, read_lines, read_text
from dycoke_cli.storage.output_file import replace_content, short_name


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


def write_made(path: Path, content: bytes) -> None:
    """Write or replace a file; after a crash it is the earlier or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Where the folder can't be written, the file counts as changed later, and is kept.
    with suppress(OSError):
        hashes = _hashes(path)
        make_folder(hashes.parent)
        earlier = read_file(hashes) if hashes.exists() else b""
        # The last one counts until the file is replaced.
        both = [*earlier.split()[-1:], hashlib.sha256(content).hexdigest().encode()]
        replace_content(hashes, b"\n".join(both), 0o600)
    replace_content(path, content)


def is_unchanged(path: Path) -> bool:
    """Whether a file is as `write_made` wrote it."""
    try:
        hashes = read_text(_hashes(path)).split()
        return hashlib.sha256(read_file(path)).hexdigest() in hashes
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
