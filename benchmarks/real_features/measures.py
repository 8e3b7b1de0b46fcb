"""What is measured of tokens: how alike neighbours are, and what can be told from kept ones."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import normalize

from dycoke_cli.compression.selection import Selection

ALIKE = 0.9


def neighbours(features: torch.Tensor, width: int) -> dict[str, float]:
    """Cosine similarities of a clip's tokens, in the mean.

    Args:
        features: `[F, N, D]`, float, of frames with N tokens each.
        width: tokens of a row of a frame.

    Returns:
        `beside`: of tokens next to each other in a frame; `later`: of tokens at the same place of
        two successive frames; `best`: of a token to that of the frame before which is most like it,
        wherever that is; `any`: of two tokens of the clip; `static`: how many of `later` are above
        `ALIKE`, 0-1.
    """
    units = normalize(features.float(), dim=-1)
    rows = units.unflatten(1, (-1, width))
    across = (rows[:, :, 1:] * rows[:, :, :-1]).sum(-1)
    down = (rows[:, 1:] * rows[:, :-1]).sum(-1)
    later = (units[1:] * units[:-1]).sum(-1)
    center = units.mean((0, 1))
    return {
        "beside": float(torch.cat([across.flatten(), down.flatten()]).mean()),
        "later": float(later.mean()),
        "best": float((units[1:] @ units[:-1].mT).amax(-1).mean()),
        "any": float(center @ center),
        "static": float((later > ALIKE).float().mean()),
    }


@dataclass(frozen=True)
class Kept:
    """What a method keeps of a clip."""

    # `[M, D]`, float32: the kept tokens, merged ones as they are read, of length 1
    units: torch.Tensor
    frame: torch.Tensor  # `[M]`, int64: the frame of each
    dropped: torch.Tensor  # `[V - M]`, int64: flat indices of the other tokens


def kept(selection: Selection, features: torch.Tensor) -> Kept:
    """What a selection keeps of the features `[F, N, D]`."""
    tokens, per_frame = features.flatten(0, 1), features.shape[1]
    read = tokens[selection.kept] if selection.features is None else selection.features
    gone = torch.ones(len(tokens), dtype=torch.bool)
    gone[selection.kept] = False
    units = normalize(read.float(), dim=-1)
    return Kept(units, selection.kept // per_frame, gone.nonzero().flatten())


def errors(of: Kept, features: torch.Tensor) -> torch.Tensor:
    """How far each dropped token is from the kept one most like it: 1 - cosine, `[V - M]`."""
    lost = normalize(features.flatten(0, 1)[of.dropped].float(), dim=-1)
    return 1 - torch.cat([(part @ of.units.T).amax(1) for part in lost.split(1024)])


def match(regions: torch.Tensor, of: Kept) -> torch.Tensor:
    """How well kept tokens show regions: the mean best cosine of a region's tokens.

    Args:
        regions: `[R, P, D]`, of length 1.
        of: the kept tokens.

    Returns:
        `[R]`, 0-1 or below.
    """
    return (regions.flatten(0, 1) @ of.units.T).amax(1).unflatten(0, regions.shape[:2]).mean(1)


def times(frames: torch.Tensor, of: Kept) -> torch.Tensor:
    """When frames were, as kept tokens tell: the mean frame of the one most like each token.

    Args:
        frames: `[T, N, D]`, of length 1.
        of: the kept tokens.

    Returns:
        `[T]`.
    """
    nearest = (frames.flatten(0, 1) @ of.units.T).argmax(1)
    return of.frame[nearest].float().unflatten(0, frames.shape[:2]).mean(1)


def in_order(told: torch.Tensor) -> list[float]:
    """For every two of the times, which ascend in truth: 1 if they do, 1/2 if they are equal."""
    pairs = itertools.combinations(told.tolist(), 2)
    return [float(before < after) + (before == after) / 2 for before, after in pairs]


@dataclass(frozen=True)
class Asked:
    """What is asked about a clip, from pictures that no method got; all of length 1, float32."""

    regions: torch.Tensor  # `[Q, P, D]`: regions of it, to be told from those of other clips
    frames: torch.Tensor  # `[T, N, D]`: frames of it, in order
    changes: torch.Tensor  # `[C, K, P, D]`: for each change what each candidate would look like
    right: Sequence[int]  # `[C]`: which of them it is


def answers(every: Sequence[Kept], asked: Sequence[Asked]) -> list[dict[str, Any]]:
    """What kept tokens tell of each clip, without any training.

    Returns:
        For each clip `which`: for each region whether this clip shows it better than all others do;
        `order`: for each two frames whether they are told to be in their order (1/2: can't be
        told); `changed`: for each change whether the right candidate is what matches best.
    """
    regions = torch.cat([one.regions for one in asked])
    shown = torch.stack([match(regions, of) for of in every])
    best = shown.argmax(0).split([len(one.regions) for one in asked])
    found = []
    for number, (of, one, chosen) in enumerate(zip(every, asked, best, strict=True)):
        matches = match(one.changes.flatten(0, 1), of).view(one.changes.shape[:2])
        found.append(
            {
                "which": [float(clip == number) for clip in chosen.tolist()],
                "order": in_order(times(one.frames, of)),
                "changed": (matches.argmax(1) == torch.tensor(one.right)).float().tolist(),
            }
        )
    return found
