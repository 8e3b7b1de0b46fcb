"""Encoded videos on disk, so that a video is encoded once.

One file per video, named by what its embeddings follow from: the pixels as the processor made them,
and the model with its weights and dtype. The least recently used files go when there is no room.

A file says which video it is of, and has a digest of what it holds; one that is torn, damaged,
misnamed or not our own is deleted, and the video is encoded again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from dycoke_cli.engine.encode import Encoded
from dycoke_cli.engine.tensor_hash import add_tensor
from dycoke_cli.engine.vision_tower.tower_attention import TowerAttention
from dycoke_cli.errors import OutputError
from dycoke_cli.storage.cache_folder import (
    CacheFiles,
    encoded_videos,
    unwritable,
)
from dycoke_cli.storage.private_file import is_of_another_user
from dycoke_cli.storage.temporary import temporary_folder
from dycoke_cli.version import __version__

_TOWER = {field.name for field in fields(TowerAttention)}


class VisualCache:
    """Encoded videos in files.

    Args:
        files: where; None for the folder in the user's cache.

    Raises:
        UsageError: the environment's limit isn't a number.
        OutputError: the folder belongs to somebody else, or can't be made.
    """

    def __init__(self, files: CacheFiles | None = None) -> None:
        self._files = encoded_videos() if files is None else files
        self._files.make_private()

    def get(self, key: str, device: torch.device, with_attention: bool = False) -> Encoded | None:
        """An encoded video, or None where it isn't there (or can't be trusted any more).

        Args:
            key: see `key_of`.
            device: of the model.
            with_attention: whether one without the vision encoder's attention is of no use.
        """
        path = self._files.path(key)
        try:
            tensors = _sound(path, key)
        except FileNotFoundError:
            return None
        except (SafetensorError, OSError, ValueError):
            with contextlib.suppress(OSError):
                path.unlink()
            return None
        self._files.note_use(path)
        tensors = {name: tensor.to(device) for name, tensor in tensors.items()}
        tower = {name: tensors.pop(name) for name in _TOWER & tensors.keys()}
        if with_attention and not tower:
            return None
        embeddings, *stacked = tensors.values()
        return Encoded(embeddings, tuple(stacked), tower=TowerAttention(**tower) if tower else None)

    def put(self, key: str, encoded: Encoded) -> None:
        """Keep an encoded video, and drop what was used longest ago where there is no room.

        One that isn't finite isn't kept: that is a fault, and no video has it for good.

        Raises:
            OutputError: nothing can be written there.
        """
        named = {str(i): x for i, x in enumerate((encoded.embeddings, *encoded.deepstack))}
        if encoded.tower is not None:
            named |= vars(encoded.tower)
        tensors = {name: tensor.contiguous().cpu() for name, tensor in named.items()}
        if not _finite(tensors):
            return
        try:
            # A folder, because safetensors writes to a temporary file of its own.
            with temporary_folder(self._files.folder) as folder:
                save_file(tensors, folder / key, {"video": key, "digest": _digest(tensors)})
                (folder / key).chmod(0o600)
                os.replace(folder / key, self._files.path(key))
        except (OSError, SafetensorError) as error:
            raise OutputError(unwritable(self._files.folder, error)) from error
        self._files.note_use(self._files.path(key))
        self._files.trim()


def _sound(path: Path, key: str) -> dict[str, torch.Tensor]:
    """The tensors of a file, on the CPU, as they were put there.

    By number: embeddings, then DeepStack's; behind them, by name, the vision encoder's attention.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is another's file, or not what was written.
        SafetensorError, OSError: it can't be read.
    """
    status = path.stat()
    if is_of_another_user(status):
        raise ValueError("another user's file")
    if not stat.S_ISREG(status.st_mode):  # a pipe would be waited for
        raise ValueError("no file")
    with safe_open(path, framework="pt") as file:
        about = file.metadata() or {}
        stored = set(file.keys())
        tower = _TOWER if stored & _TOWER else set()
        names = [*(str(number) for number in range(len(stored - tower))), *tower]
        if about.get("video") != key or set(names) != stored or "0" not in stored:
            raise ValueError("a file of another video, or of another program")
        tensors = {name: file.get_tensor(name) for name in names}
    if about.get("digest") != _digest(tensors) or not _finite(tensors):
        raise ValueError("not what was written")
    return tensors


def _digest(tensors: dict[str, torch.Tensor], prefix: bytes = b"") -> str:
    """SHA-256 of named tensors: their names, shapes, dtypes and bytes, behind a prefix."""
    digest = hashlib.sha256(prefix)
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        add_tensor(digest, tensor)
    return digest.hexdigest()


def _finite(tensors: dict[str, torch.Tensor]) -> bool:
    return all(bool(tensor.isfinite().all()) for tensor in tensors.values())


def key_of(identity: dict[str, Any], inputs: dict[str, torch.Tensor]) -> str:
    """Key of a video's embeddings: a digest of everything that they depend on.

    Args:
        identity: of the model: its weights and dtype.
        inputs: what the processor made of the video.
    """
    # Another release may encode otherwise.
    about = {"release": __version__, "model": identity}
    return _digest(inputs, json.dumps(about, sort_keys=True).encode())[:40]
