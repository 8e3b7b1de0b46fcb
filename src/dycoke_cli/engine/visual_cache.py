"""Encoded videos on disk, so that a video is encoded once.

One file per video, named by what its embeddings follow from: the pixels as the processor made them,
the model with its weights and dtype, and the program. The least recently used files go when there
is no room. Of one that can't be trusted (`tensor_files.py`), the video is encoded again.
"""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import torch

from dycoke_cli.engine.encode import Encoded
from dycoke_cli.engine.tensor_files import Tensors, digest_of, read_tensors, write_tensors
from dycoke_cli.engine.vision_tower.tower_attention import TowerAttention
from dycoke_cli.storage.cache_folder import CacheFiles, encoded_videos
from dycoke_cli.version import program_key

_PROGRAM = program_key()
_TOWER = {field.name for field in fields(TowerAttention)}


class VisualCache:
    """Encoded videos in files.

    Args:
        files: where; None for the folder in the user's cache.
    """

    def __init__(self, files: CacheFiles | None = None) -> None:
        self._files = encoded_videos() if files is None else files
        self._files.make_private()

    def get(self, key: str, device: torch.device, with_attention: bool = False) -> Encoded | None:
        """An encoded video, or None where it isn't there (or can't be trusted any more)."""
        encoded = read_tensors(self._files, key, lambda tensors: _encoded(tensors, device))
        if encoded is None or (with_attention and encoded.tower is None):
            return None
        return encoded

    def put(self, key: str, encoded: Encoded) -> None:
        """Keep an encoded video, and drop what was used longest ago where there is no room.

        One that isn't finite isn't kept: that is a fault, and no video has it for good.
        """
        named = {str(i): x for i, x in enumerate((encoded.embeddings, *encoded.deepstack))}
        if encoded.tower is not None:
            named |= vars(encoded.tower)
        write_tensors(self._files, key, named)


def _encoded(tensors: Tensors, device: torch.device) -> Encoded:
    """The video of a file's tensors.

    By number: embeddings, then DeepStack's; and by name, the vision encoder's attention.

    Raises:
        KeyError: they are others.
    """
    found = {name: tensor.to(device) for name, tensor in tensors.items()}
    tower = {name: found.pop(name) for name in _TOWER} if _TOWER & found.keys() else None
    embeddings, *stacked = (found[str(number)] for number in range(max(1, len(found))))
    return Encoded(
        embeddings, tuple(stacked), tower=None if tower is None else TowerAttention(**tower)
    )


def key_of(identity: dict[str, Any], inputs: dict[str, torch.Tensor]) -> str:
    """Key of a video's embeddings: a digest of everything that they depend on.

    Args:
        identity: of the model: its weights and dtype.
        inputs: what the processor made of the video.
    """
    about = {"program": _PROGRAM, "model": identity}
    return digest_of(inputs, json.dumps(about, sort_keys=True).encode())[:40]
