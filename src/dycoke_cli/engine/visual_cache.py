"""Encoded videos on disk: a video that was asked about before needs no vision tower.

A file a video, named by what its rows follow from: the pixels as the processor made them, and the
model with its weights and dtype. Files that were used longest ago go when there is no room.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from dycoke_cli.cache import CacheFiles, encoded_videos
from dycoke_cli.engine import digests
from dycoke_cli.engine.encode import Encoded
from dycoke_cli.errors import OutputError


class VisualCache:
    """Encoded videos in files.

    Args:
        files: where; None for the folder in the user's cache.

    Raises:
        UsageError: the environment's limit isn't a number.
    """

    def __init__(self, files: CacheFiles | None = None) -> None:
        self._files = encoded_videos() if files is None else files

    def get(self, key: str, device: torch.device) -> Encoded | None:
        """The rows of a video, or None where they aren't there (or can't be read any more)."""
        path = self._files.path(key)
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
        partial = self._files.path(f"{key}.{os.getpid()}.part")
        try:
            self._files.folder.mkdir(parents=True, exist_ok=True)
            save_file(held, partial)
            os.replace(partial, self._files.path(key))
        except (OSError, SafetensorError) as error:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
            raise OutputError(
                f"{self._files.folder} can't be written ({error}); free some space, or leave out "
                "--cache"
            ) from error
        self._files.trim()


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
        digests.add(digest, tensor)
    return digest.hexdigest()[:40]
