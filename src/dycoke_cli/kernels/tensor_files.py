"""Files of tensors, whose content is checked when they are read; and the hash of a tensor."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from dycoke_cli.storage.output_file import check_own, temporary_folder

Tensors = dict[str, torch.Tensor]


def add_tensor(digest: Any, tensor: torch.Tensor) -> None:
    """Add the bytes of a tensor of any shape and dtype, on any device, to a hash of `hashlib`."""
    digest.update(tensor.contiguous().cpu().flatten().view(torch.uint8).numpy().data)


def tensor_hash(tensors: Iterable[torch.Tensor]) -> bytes:
    """A hash of the bytes of tensors, of 16 bytes, to compare within this process."""
    digest = hashlib.blake2b(digest_size=16)
    for tensor in tensors:
        add_tensor(digest, tensor)
    return digest.digest()


def digest_of(tensors: Tensors, prefix: bytes = b"") -> str:
    """SHA-256 of named tensors: their names, shapes, dtypes and bytes, behind a prefix."""
    digest = hashlib.sha256(prefix)
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        add_tensor(digest, tensor)
    return digest.hexdigest()


def read_tensors(path: Path, about: str) -> Tensors:
    """The tensors of a file as they were written, on the CPU; large ones stay mapped.

    Args:
        about: what they are of.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: they aren't what was written, or of something else.
        OSError, SafetensorError: it can't be read, or another user may have written it.
    """
    check_own(path)
    with safe_open(path, framework="pt") as file:
        said = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if said.get("digest") != digest_of(tensors, about.encode()):
        raise ValueError("not what was written")
    return tensors


def write_tensors(path: Path, about: str, tensors: Tensors) -> None:
    """Write or replace a file; of processes that write it at the same time the last one wins.

    Args:
        about: what they are of.
        tensors: contiguous ones, on the CPU.

    Raises:
        OSError, SafetensorError: nothing can be written there.
    """
    # A folder, because safetensors writes to a temporary file of its own.
    with temporary_folder(path.parent) as folder:
        said = {"about": about, "digest": digest_of(tensors, about.encode())}
        save_file(tensors, folder / path.name, said)
        (folder / path.name).chmod(0o600)  # equivalent: newer safetensors does so
        os.replace(folder / path.name, path)
