"""A long video that is partly read, on disk: an interrupted run goes on from there.

One file per video and way of reading it, in the folder of encoded videos, whose limit of size it
shares. It has what the windows kept so far, no more than a pool holds. It is written again and
again while windows are encoded, and removed once the video was asked about.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import torch

from dycoke_cli.compression.pool import PooledTokens
from dycoke_cli.engine.encode import Encoded
from dycoke_cli.engine.tensor_files import Tensors, read_tensors, write_tensors
from dycoke_cli.errors import OutputError
from dycoke_cli.storage.cache_folder import UNFINISHED, CacheFiles, encoded_videos
from dycoke_cli.version import __version__

SHARE = 20
"""Windows are encoded that many times as long as the last write took before the next one: at most
5 % of the time goes into writing, however slow the disk is."""


@dataclass(frozen=True)
class ReadSoFar:
    """A video up to the end of a window."""

    tokens: PooledTokens  # that the pool holds
    tail: Encoded  # what stands behind the last frame
    so_far: tuple[torch.Tensor, ...]  # what the method knows of the video; see `Method.so_far`
    frames: int  # encoded ones: pairs, where the model merges pairs
    count: int  # windows
    kept: int  # visual tokens that the windows kept


class UnfinishedVideo:
    """The file of one video and one way of reading it.

    Attributes:
        problem: a sentence where it can't be written; else None.

    Args:
        files: where; None for the folder in the user's cache.
    """

    def __init__(self, about: dict[str, Any], files: CacheFiles | None = None) -> None:
        # Another release may encode or select otherwise.
        whole = json.dumps({"release": __version__, **about}, sort_keys=True)
        self._key = UNFINISHED + hashlib.sha256(whole.encode()).hexdigest()[:40]
        self._files = encoded_videos() if files is None else files
        self._due_s = 0.0
        self.problem: str | None = None
        try:
            self._files.make_private()
        except OutputError as error:
            self._give_up(error)

    @property
    def is_due(self) -> bool:
        """Whether `put` is worth its time."""
        return self.problem is None and time.monotonic() >= self._due_s

    def get(self, device: torch.device) -> ReadSoFar | None:
        """What an earlier run has read; None where there was none, or its file is damaged."""
        if self.problem is not None:
            return None
        return read_tensors(self._files, self._key, lambda tensors: _read(tensors, device))

    def put(self, read: ReadSoFar) -> None:
        """Write, in place of what was written before."""
        began = time.monotonic()
        try:
            write_tensors(self._files, self._key, _named(read))
        except OutputError as error:
            self._give_up(error)
        ended = time.monotonic()
        self._due_s = ended + SHARE * (ended - began)

    def remove(self) -> None:
        """Remove the file, if there is one."""
        with contextlib.suppress(OSError):
            self._files.path(self._key).unlink()

    def _give_up(self, error: OutputError) -> None:
        self.problem = f"an interrupted run would read this video from its beginning; {error}"


def _named(read: ReadSoFar) -> Tensors:
    tokens, tail = read.tokens, read.tail
    named = {
        "numbers": torch.tensor([read.frames, read.count, read.kept]),
        "kept": tokens.kept,
        "features": tokens.features,
        "tail": tail.embeddings,
        **_numbered("features", tokens.deepstack),
        **_numbered("tail", tail.deepstack),
        **_numbered("so_far", read.so_far),
    }
    return named if tokens.counts is None else named | {"counts": tokens.counts}


def _read(tensors: Tensors, device: torch.device) -> ReadSoFar:
    """What `_named` has named, with embeddings on a device.

    Raises:
        KeyError, ValueError: it is something else.
    """
    placed = {name: tensor.to(device) for name, tensor in tensors.items()}
    frames, count, kept = tensors["numbers"].tolist()
    return ReadSoFar(
        PooledTokens(
            tensors["kept"],
            placed["features"],
            _all_of("features", placed),
            tensors.get("counts"),
        ),
        Encoded(placed["tail"], _all_of("tail", placed)),
        _all_of("so_far", placed),
        frames,
        count,
        kept,
    )


def _numbered(name: str, tensors: Iterable[torch.Tensor]) -> Tensors:
    return {f"{name}.{number}": tensor for number, tensor in enumerate(tensors)}


def _all_of(name: str, tensors: Tensors) -> tuple[torch.Tensor, ...]:
    """Those that `_numbered` has numbered."""
    numbers = takewhile(tensors.__contains__, (f"{name}.{n}" for n in range(len(tensors))))
    return tuple(tensors[one] for one in numbers)
