"""Fingerprint of a model's folder: a hash of the content of all files that loading reads.

Gigabytes of weights take seconds to read and hash. So the hash is kept in the cache folder, by what
the file system says of the files: their names, sizes, inodes, and times of the last change.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import time
from pathlib import Path

from dycoke_cli.models.files.small_files import READ_SUFFIXES
from dycoke_cli.storage.cache_folder import kept, write_whole
from dycoke_cli.storage.input_file import open_file
from dycoke_cli.storage.output_file import read_own

_DIGEST = re.compile(r"[0-9a-f]{64}")
# Some file systems keep times in steps of two seconds: a file that was just written may change
# again without a sign of it.
_STEP_NS = 2 * 10**9


def folder_fingerprint(folder: Path) -> str:
    """SHA-256 of the names and contents of the files that loading reads, in hexadecimal."""
    # Files that loading doesn't read, such as a README, don't change the model.
    files = sorted(path for path in folder.iterdir() if path.suffix in READ_SUFFIXES)
    files = [path for path in files if path.is_file()]
    state, changed_ns = _state(files)
    stored = kept("fingerprints") / state
    with contextlib.suppress(OSError, ValueError):
        if _DIGEST.fullmatch(digest := read_own(stored)):
            return digest
    content = hashlib.sha256()
    for path in files:
        with open_file(path) as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        content.update(f"{path.name} {digest}\n".encode())
    if time.time_ns() - changed_ns > _STEP_NS and _state(files)[0] == state:
        with contextlib.suppress(OSError):  # the next run reads the files again
            write_whole(stored, content.hexdigest())
    return content.hexdigest()


def _state(files: list[Path]) -> tuple[str, int]:
    """Hash of what the file system says of files, and the time of their last change in ns."""
    stats = [path.stat() for path in files]
    about = [
        (path.name, s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns)
        for path, s in zip(files, stats, strict=True)
    ]
    latest = max((max(s.st_mtime_ns, s.st_ctime_ns) for s in stats), default=0)
    return hashlib.sha256(json.dumps(about).encode()).hexdigest(), latest
