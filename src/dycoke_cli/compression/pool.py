"""Pool of the visual tokens that windows kept, under a cap: the budget of a long video.

Above the cap it is thinned by coverage, the rule of `coverage.py`, over far longer windows. A token
counts there for as many tokens of the video as it represents. So an hour in which nothing changes
shrinks to a few tokens, and a busy minute in it keeps its share.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from dycoke_cli.compression.coverage import alike_in, merged, most_covering
from dycoke_cli.compression.method import Selection, counted_on
from dycoke_cli.lazy_torch import torch
from dycoke_cli.param import Param, check_all

PART = 1024
"""Tokens that are compared with each other as the pool is thinned; their similarities take 4 MB."""
HELD = 2
"""Tokens that a pool holds at most before it is thinned, as a multiple of its cap.

With less it is thinned after each window, and most of the work is done again each time.
"""


@dataclass(frozen=True)
class TokenBudget:
    """Budget of the visual tokens of a video, whatever its length and its frames."""

    video_tokens: Annotated[
        int | None,
        Param(
            "Maximum visual tokens that the language model reads. The video is read in windows, so "
            "memory hardly grows with its length; the tokens of all windows are thinned to this.",
            at_least=1,
            default="no limit; what 32 frames have, if all that is kept doesn't fit the model's "
            "context",
        ),
    ] = None

    def __post_init__(self) -> None:
        check_all(self)


@dataclass(frozen=True)
class PooledTokens:
    """Visual tokens of a video, in the order in which the language model reads them."""

    kept: torch.Tensor  # `[M]`, int64: flat indices `frame*N + position` in the whole video
    features: torch.Tensor  # `[M, D]`, in the dtype of the model: each as it is read
    # more of them `[M, D]`, one tensor per layer, of families that have them
    deepstack: tuple[torch.Tensor, ...] = ()
    # `[M]`, int64, on the CPU: how many tokens of the video each stands for; None where nothing was
    # merged
    counts: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.kept)

    @classmethod
    def of_window(
        cls,
        selection: Selection,
        embeddings: torch.Tensor,
        deepstack: Sequence[torch.Tensor],
        start: int,
    ) -> PooledTokens:
        """The tokens that a method kept of a window.

        Args:
            selection: from the V tokens of the window.
            embeddings: `[V or more, D]`: of all its tokens.
            deepstack: more of them `[V or more, D]`.
            start: tokens of the video before the window.
        """
        kept = selection.kept.to(embeddings.device)
        features = embeddings[kept] if selection.features is None else selection.features
        return cls(
            counted_on(selection.kept.cpu(), start),
            features.to(embeddings),
            tuple(layer[kept.to(layer.device)] for layer in deepstack),
            selection.sizes,
        )

    @classmethod
    def joined(cls, parts: Sequence[PooledTokens]) -> PooledTokens:
        """Those of parts of a video, one behind the other."""
        if len(parts) == 1:
            return parts[0]
        counts = None
        if any(part.counts is not None for part in parts):
            counts = torch.cat([part.weights for part in parts])
        return cls(
            torch.cat([part.kept for part in parts]),
            torch.cat([part.features for part in parts]),
            tuple(map(torch.cat, zip(*(part.deepstack for part in parts), strict=True))),
            counts,
        )

    @property
    def weights(self) -> torch.Tensor:
        """How many tokens of the video each stands for: `[M]`, int64, on the CPU."""
        return torch.ones(len(self), dtype=torch.int64) if self.counts is None else self.counts

    def at_most(self, count: int, per_frame: int) -> PooledTokens:
        """Those that best represent all of them, with the others merged into them.

        Args:
            count: how many, 1 or more; all where there are no more.
        """
        if len(self) <= count:
            return self
        order = self.kept.argsort()
        kept, weights = self.kept[order], self.weights[order]
        features = self.features[order.to(self.features.device)]
        lengths = [len(part) for part in kept.split(PART)]
        frames = kept // per_frame
        # A second of a part is to a part as one of a window is to a window in `coverage.py`.
        spans = [int(part[-1] - part[0]) + 1 for part in frames.split(PART)]
        span = torch.tensor(spans).repeat_interleave(torch.tensor(lengths))
        times = (frames / span).to(features.device, torch.float32)
        alike = alike_in(features, times, lengths)
        chosen = most_covering(alike, count, weights).sort().values
        selection = merged(features, alike, chosen.to(features.device), weights.to(features.device))
        assert selection.features is not None, "merged"
        assert selection.into is not None, "merged"
        into = selection.into.cpu()
        counts = torch.zeros_like(weights).index_add_(0, into[into >= 0], weights[into >= 0])
        return PooledTokens(
            kept[chosen],
            selection.features.to(self.features),
            tuple(layer[order[chosen].to(layer.device)] for layer in self.deepstack),
            counts[chosen],
        )


class Pool:
    """The tokens that windows have kept so far, `HELD` times the cap at most."""

    def __init__(self, cap: int, per_frame: int) -> None:
        self._cap, self._per_frame = cap, per_frame
        self._parts: list[PooledTokens] = []
        self._held = 0

    def add(self, tokens: PooledTokens) -> None:
        """Add what the next window kept."""
        self._parts.append(tokens)
        self._held += len(tokens)
        if self._held > HELD * self._cap:
            self._parts = [self.tokens().at_most(self._cap, self._per_frame)]
            self._held = len(self._parts[0])

    def tokens(self) -> PooledTokens:
        """All that it holds."""
        return PooledTokens.joined(self._parts)
