"""Files of tensors with a digest of their content, and the hash of a tensor."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from dycoke_cli.errors import OutputError
from dycoke_cli.storage.cache_folder import CacheFiles, unwritable
from dycoke_cli.storage.input_file import check_regular
from dycoke_cli.storage.output_file import is_of_another_user, temporary_folder


class Digest(Protocol):
    """What `hashlib` makes."""

    def update(self, data: memoryview, /) -> None:
        """Take in bytes."""


def add_tensor(digest: Digest, tensor: torch.Tensor) -> None:
    """Take in the bytes of a tensor of any shape and dtype, on any device."""
    digest.update(tensor.contiguous().cpu().flatten().view(torch.uint8).numpy().data)


def tensor_hash(tensors: Iterable[torch.Tensor]) -> bytes:
    """A hash of the bytes of tensors, of 16 bytes, to compare within this process."""
    digest = hashlib.blake2b(digest_size=16)
    for tensor in tensors:
        add_tensor(digest, tensor)
    return digest.digest()


Tensors = dict[str, torch.Tensor]
T = TypeVar("T")


def read_tensors(files: CacheFiles, key: str, made_of: Callable[[Tensors], T]) -> T | None:
    """What a file has; None where it isn't there, or can't be trusted any more.

    Args:
        files: of the cache.
        key: what the file is of.
        made_of: makes it of the tensors, on the CPU; a KeyError or ValueError where they are
            others.
    """
    path = files.path(key)
    try:
        made = made_of(_sound(path, key))
    except FileNotFoundError:
        return None
    except (SafetensorError, OSError, ValueError, KeyError):
        with contextlib.suppress(OSError):
            path.unlink()
        return None
    files.note_use(path)
    return made


def write_tensors(files: CacheFiles, key: str, named: Tensors) -> None:
    """Write or replace a file; drop what was used longest ago where there is no room.

    Tensors that aren't finite aren't written: that is a fault, and nothing is to have it for good.

    Args:
        files: of the cache.
        key: what the file is of.
        named: on any device.

    Raises:
        OutputError: nothing can be written there.
    """
    tensors = {name: tensor.contiguous().cpu() for name, tensor in named.items()}
    if not _finite(tensors):
        return
    try:
        # A folder, because safetensors writes to a temporary file of its own.
        with temporary_folder(files.folder) as folder:
            save_file(tensors, folder / key, {"video": key, "digest": digest_of(tensors)})
            (folder / key).chmod(0o600)  # equivalent: newer safetensors does so
            os.replace(folder / key, files.path(key))
    except (OSError, SafetensorError) as error:
        raise OutputError(unwritable(files.folder, error)) from error
    files.note_use(files.path(key))
    files.trim()


def _sound(path: Path, key: str) -> Tensors:
    """The tensors of a file, as they were put there.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is another's file, or not what was written.
        SafetensorError, OSError: it can't be read.
    """
    status = path.stat()
    if is_of_another_user(status):
        raise ValueError("another user's file")
    check_regular(status)
    with safe_open(path, framework="pt") as file:
        about = file.metadata() or {}
        if about.get("video") != key:
            raise ValueError("a file of another video, or of another program")
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if about.get("digest") != digest_of(tensors) or not _finite(tensors):
        raise ValueError("not what was written")
    return tensors


def digest_of(tensors: Tensors, prefix: bytes = b"") -> str:
    """SHA-256 of named tensors: their names, shapes, dtypes and bytes, behind a prefix."""
    digest = hashlib.sha256(prefix)
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        add_tensor(digest, tensor)
    return digest.hexdigest()


def _finite(tensors: Tensors) -> bool:
    return all(bool(tensor.isfinite().all()) for tensor in tensors.values())
