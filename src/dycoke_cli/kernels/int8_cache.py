"""Int8 weights on disk, so that a model is quantized once.

A folder per model and processor, a file per layer: memory stays that of one layer, and an
interrupted first start is resumed. A file has the weights as oneDNN packed them; FBGEMM, whose
packed weights can't be had as bytes, packs the rounded ones at each start.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from shutil import rmtree
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from dycoke_cli.errors import OutputError
from dycoke_cli.instruction_sets import instructions
from dycoke_cli.kernels.int8_linear import Layout, Tensors
from dycoke_cli.storage.cache_folder import CacheFiles, packed_weights
from dycoke_cli.storage.private_file import check_own

VERSION = 4
"""Of the rounding, the packing and the files; another one is rounded anew."""

MIN_CACHED_WEIGHTS = 100_000_000
"""Minimum weights in int8 layers: fewer are rounded in less than a second."""


class Int8Cache:
    """Int8 weights of one model on this processor.

    Args:
        identity: of the model: its weights and dtype, as JSON values.

    Attributes:
        problems: sentences about files that weren't used or written, each once.
    """

    def __init__(self, identity: Mapping[str, Any], name: str) -> None:
        model = packed_weights().folder / _digest(identity)
        self.folder = model / _digest([VERSION, torch.__version__, instructions()])
        self.problems: list[str] = []
        self._name = name
        self._files = CacheFiles(self.folder, ".safetensors", 0)
        self._writes = True
        if not self.folder.exists() and model.is_dir() and any(model.iterdir()):
            self._add(
                f"the int8 weights of {name} in the cache are of another processor or release of "
                "torch; they were packed anew"
            )

    def read(self, layer: str, kernel: str, layout: Layout) -> Tensors | None:
        """Tensors that were kept of a layer; None if they aren't there, or damaged.

        Those of another kernel aren't damaged: another one is the fastest once more were measured.

        Args:
            layer: name of the layer.
            kernel: name of the class of the int8 layer.
            layout: of its tensors.
        """
        path = self._files.path(layer)
        try:
            return _sound(path, kernel, layout)
        except FileNotFoundError:
            return None
        except (OSError, SafetensorError, ValueError):
            self.refuse()
            return None

    def refuse(self) -> None:
        """Note that tensors of a layer can't be used."""
        self._add(
            f"the int8 weights of {self._name} in the cache were damaged; the layers concerned "
            "were packed anew"
        )

    def write(self, layer: str, kernel: str, tensors: Tensors) -> None:
        """Store the tensors to keep of a layer; after a failure, nothing of the model is stored.

        Args: see `read`.
        """
        if not self._writes:
            return
        path = self._files.path(layer)
        # Processes that start at the same time write the same content; the last one wins.
        partial = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            self._files.make_private()
            save_file(tensors, partial, {"kernel": kernel, "sha256": _hash(kernel, tensors)})
            partial.chmod(0o600)
            os.replace(partial, path)
        except (OSError, SafetensorError, OutputError) as error:
            self._writes = False
            rmtree(self.folder, ignore_errors=True)
            self._add(
                f"the int8 weights of {self._name} can't be kept in {self.folder} "
                f"({_reason(error)}); each start packs them anew"
            )
        finally:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)

    def _add(self, sentence: str) -> None:
        if sentence not in self.problems:
            self.problems.append(sentence)


def _sound(path: Path, kernel: str, layout: Layout) -> Tensors | None:
    """Tensors of a file as they were written; those that are large stay mapped.

    None if they are of another kernel.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is of another layout, or its content has changed.
        OSError, SafetensorError: it can't be read, or another user may have written it.
    """
    check_own(path)
    with safe_open(path, framework="pt") as file:
        about = file.metadata() or {}
        if about.get("kernel", kernel) != kernel:
            return None
        if {*file.keys()} != {*layout}:
            raise ValueError("of another layout")
        tensors = {name: file.get_tensor(name) for name in layout}
    for name, tensor in tensors.items():
        dtype, shape = layout[name]
        any_length = shape is None and tensor.dim() == 1
        if tensor.dtype != dtype or not (any_length or tuple(tensor.shape) == shape):
            raise ValueError("of another layer")
    if about.get("sha256") != _hash(kernel, tensors):
        raise ValueError("not what was written")
    return tensors


def _hash(kernel: str, tensors: Tensors) -> str:
    """SHA-256 of everything in a file: order, names, dtypes and shapes count, too."""
    about = [(name, str(each.dtype), [*each.shape]) for name, each in sorted(tensors.items())]
    total = hashlib.sha256(json.dumps([kernel, about]).encode())
    for _, each in sorted(tensors.items()):
        total.update(each.flatten().view(torch.uint8).numpy().data)
    return total.hexdigest()


def _digest(about: Any) -> str:
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:24]


def _reason(error: Exception) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)
