"""Encoded videos on disk: a video that was asked about before needs no vision tower.

A file a video, named by what its rows follow from: the pixels as the processor made them, and the
model with its weights and dtype. Files that were used longest ago go when there is no room.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from dycoke_cli.cache import cache_folder
from dycoke_cli.engine.encode import Encoded
from dycoke_cli.errors import OutputError, UsageError

LIMIT = "DYCOKE_CACHE_GB"
"""Names the environment variable with the most that may lie there, in gigabytes."""
DEFAULT_LIMIT_GB = 10.0
_SUFFIX = ".safetensors"


class VisualCache:
    """Encoded videos in a folder.

    Args:
        folder: is made where it isn't there; None for the one in the user's cache.
        limit: bytes; None for what the environment says.

    Raises:
        UsageError: the environment says something else than a number.
    """

    def __init__(self, folder: Path | None = None, limit: int | None = None) -> None:
        self.folder = cache_folder() / "visual" if folder is None else folder
        self._limit = _limit() if limit is None else limit

    def get(self, key: str, device: torch.device) -> Encoded | None:
        """The rows of a video, or None where they aren't there (or can't be read any more)."""
        path = self._path(key)
        try:
            held = load_file(path, device=str(device))
            os.utime(path)
        except FileNotFoundError:
            return None
        except (SafetensorError, OSError):
            path.unlink(missing_ok=True)
            return None
        stacked = (held[f"deepstack.{i}"] for i in range(len(held) - 1))
        return Encoded(held["rows"], tuple(stacked))

    def put(self, key: str, encoded: Encoded) -> None:
        """Keep the rows of a video, and drop what was used longest ago where there is no room.

        Raises:
            OutputError: nothing can be written there.
        """
        stacked = {f"deepstack.{i}": rows for i, rows in enumerate(encoded.deepstack)}
        held = {name: rows.contiguous() for name, rows in {"rows": encoded.rows, **stacked}.items()}
        partial = self._path(f"{key}.{os.getpid()}.part")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            save_file(held, partial)
            os.replace(partial, self._path(key))
        except (OSError, SafetensorError) as error:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
            raise OutputError(
                f"{self.folder} can't be written ({error}); free some space, or leave out --cache"
            ) from error
        self._trim()

    def files(self) -> list[Path]:
        """All that is there, what was used longest ago first."""
        return [path for _, path in sorted((path.stat().st_mtime, path) for path in self._all())]

    @property
    def nbytes(self) -> int:
        """Of all files."""
        return sum(path.stat().st_size for path in self._all())

    def clear(self) -> int:
        """Delete everything; how many files there were."""
        files = self.files()
        for path in files:
            path.unlink(missing_ok=True)
        return len(files)

    def _trim(self) -> None:
        files, held = self.files(), self.nbytes
        while held > self._limit and len(files) > 1:
            oldest = files.pop(0)
            # Another run may be trimming, too.
            with contextlib.suppress(FileNotFoundError):
                held -= oldest.stat().st_size
                oldest.unlink()

    def _all(self) -> Iterator[Path]:
        return self.folder.glob(f"*{_SUFFIX}")

    def _path(self, key: str) -> Path:
        return self.folder / (key + _SUFFIX)


def key_of(identity: dict[str, Any], inputs: dict[str, torch.Tensor]) -> str:
    """What the rows of a video follow from.

    Args:
        identity: of the model: its weights and dtype.
        inputs: what the processor made of the video.
    """
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode())
    for name in sorted(inputs):
        tensor = inputs[name]
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:40]


def _limit() -> int:
    named = os.environ.get(LIMIT)
    try:
        gigabytes = DEFAULT_LIMIT_GB if named is None else float(named)
    except ValueError:
        gigabytes = -1.0
    if not gigabytes > 0:
        raise UsageError(f"{LIMIT} must be a number of gigabytes above 0, not {named!r}")
    return int(gigabytes * 1e9)
