"""What tests of vision towers share: merging, the rows of a token, caches, and what is checked."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch

from dycoke_cli import DyCoke
from dycoke_cli.engine import vision
from dycoke_cli.engine.memory import flops
from dycoke_cli.engine.vision import Encoded
from dycoke_cli.models.families import FAMILIES, family_of
from dycoke_cli.stock.private_api import attention_implementation
from dycoke_cli.storage.cache_folder import CacheFiles
from tests.exactness import assert_same
from tests.families.sessions import loaded_of
from tests.families.tiny import MAKERS


def files(folder, limit: int = 10**9) -> CacheFiles:
    return CacheFiles(folder, ".safetensors", limit)


def identified(family: str, weights: str = "w"):
    return dataclasses.replace(loaded_of(family), identity={"weights": weights})


WINDOW = 4

MERGING = DyCoke(merge_ratio=0.5, kv_prune=False, merge_stage="vision", positions="kept")


def reference_of(frame: int) -> int | None:
    place = frame % WINDOW
    return None if place == 0 else frame - 1 if place % 2 else frame - place


class Overwritten:
    """Writes rows of a tower that aren't run over with those of the frame that stands for them."""

    def __init__(self, tokens: list[list[int]], ratio: float) -> None:
        self.kept: list[list[int]] = []  # the positions of each frame
        self.hooks: list[Any] = []
        self._others: list[list[int]] = []
        self._tokens, self._ratio = tokens, ratio

    def choose(self, frames: torch.Tensor) -> None:
        """By `[F, P, D]`, from which on rows are written over."""
        for f, frame in enumerate(frames):
            other, count = reference_of(f), len(self._tokens)
            chosen = list(range(count))
            if other is not None:
                pairs = [(frame[at].mean(0), frames[other][at].mean(0)) for at in self._tokens]
                like = [float(torch.cosine_similarity(*p, dim=0).float()) for p in pairs]
                order = sorted(chosen, key=lambda n: (like[n], n))
                chosen = sorted(order[: int((1 - self._ratio) * count + 1e-9)])
            self.kept.append(chosen)
            run = {row for n in chosen for row in self._tokens[n]}
            whole = range(len(frame))
            self._others.append([] if other is None else [row for row in whole if row not in run])

    def written(self, frames: torch.Tensor) -> torch.Tensor:
        """`[F, P, D]` with these rows."""
        frames = frames.clone()
        for f, rows in enumerate(self._others):
            frames[f, rows] = frames[reference_of(f) or 0, rows]
        return frames


def encoded(model: Any, prompt: Any, merging: DyCoke | None = None) -> Encoded:
    before = None if merging is None else merging.before_vision()
    return vision.encode_video(model, family_of(model.config), prompt, None, before)


def check_rows(
    model: Any,
    prompt: Any,
    merging: DyCoke,
    numbers: int,  # that are encoded at a time
    make_oracle: Callable[[Any, Any], Overwritten],  # on a tower and its layers
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Rows and choice of a tower that merges are those of one whose other rows are overwritten."""
    known = family_of(model.config)
    place = known.tower or known.packed_tower
    tower = model.model.get_submodule(place.name)
    oracle = make_oracle(tower, tower.get_submodule(place.layers))
    monkeypatch.setattr(flops, "CHUNK_NUMBERS_CPU", 10**9)
    expected = encoded(model, prompt)
    for hook in oracle.hooks:
        hook.remove()
    monkeypatch.setattr(flops, "CHUNK_NUMBERS_CPU", numbers)
    stock = attention_implementation(tower)
    ours = encoded(model, prompt, merging)
    count = prompt.tokens_per_frame
    flat = [f * count + n for f, positions in enumerate(oracle.kept) for n in positions]
    assert ours.kept.tolist() == flat
    assert len(flat) == merging.kept_tokens(prompt.frames, count)
    # Not only those of the tokens kept: a method may choose among all.
    assert_same(ours.embeddings, expected.embeddings)
    for mine, theirs in zip(ours.deepstack, expected.deepstack, strict=True):
        assert_same(mine, theirs)
    assert attention_implementation(tower) == stock


SIDE, GRID = 4, 2

CAN = [name for name in MAKERS if name in FAMILIES and FAMILIES[name].tower is not None]


def rows_of(family: str) -> list[list[int]]:
    """For each visual token of a frame the rows of the tower that it is made of."""
    if family == "video_llava":
        return [[row] for row in range(SIDE**2 + 1)]
    first = 1 if family in ("llava_next_video", "internvl") else 0
    return [
        [first + (2 * down + i) * SIDE + 2 * right + j for i in (0, 1) for j in (0, 1)]
        for down in range(GRID)
        for right in range(GRID)
    ]


CANNOT = [name for name in MAKERS if name not in CAN]
