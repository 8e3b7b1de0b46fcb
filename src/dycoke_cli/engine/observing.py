"""Observers of an answer's logits: how certain it is, and how far compression moves it.

They are handed to `VideoSession.ask`; without one nothing is collected. All read greedy answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import LogitsProcessor

from dycoke_cli.answer.answer import Certainty

MOST_KEPT = 1024
"""Of each distribution, the likeliest tokens, compared one by one; the rest count as one."""


class CertaintyObserver(LogitsProcessor):
    """Records the two likeliest tokens of each step; `certainty` sums up an answer."""

    def __init__(self) -> None:
        self._steps: list[torch.Tensor] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """See `LogitsProcessor`: `scores[B, V]`, unchanged."""
        self._steps.append(scores.float().log_softmax(-1).topk(2).values)
        return scores

    def certainty(self, row: int, tokens: int) -> Certainty:
        """The certainty of an answer."""
        first, second = torch.stack([step[row] for step in self._steps[:tokens]]).unbind(-1)
        return Certainty(
            least_probability=float(first.min().exp()),
            least_margin=float((first.exp() - second.exp()).min()),
            mean_log_probability=float(first.mean()),
        )


class EachObserver(LogitsProcessor):
    """Hands each sequence of a batch to an observer of its own."""

    def __init__(self, observers: Sequence[LogitsProcessor]) -> None:
        self._observers = observers

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """See `LogitsProcessor`: `scores[B, V]`, each row as its observer returns it."""
        rows = zip(self._observers, input_ids.split(1), scores.split(1), strict=True)
        return torch.cat([observer(ids, row) for observer, ids, row in rows])


@dataclass(frozen=True)
class Reference:
    """An uncompressed answer, and the distribution of each of its tokens."""

    tokens: torch.Tensor  # `[T]`, int64
    values: torch.Tensor  # `[T, K]`, float32: log-probabilities of the K likeliest tokens
    indices: torch.Tensor  # `[T, K]`, int64: these tokens


class ReferenceObserver(CertaintyObserver):
    """Records the distributions of a single answer as well."""

    def __init__(self) -> None:
        super().__init__()
        self._values: list[torch.Tensor] = []
        self._indices: list[torch.Tensor] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """See `LogitsProcessor`: `scores[1, V]`, unchanged."""
        likeliest = scores[0].float().log_softmax(-1).topk(min(MOST_KEPT, scores.shape[-1]))
        self._values.append(likeliest.values)
        self._indices.append(likeliest.indices)
        return super().__call__(input_ids, scores)

    def reference(self) -> Reference:
        """What was recorded."""
        indices = torch.stack(self._indices)
        return Reference(indices[:, 0], torch.stack(self._values), indices)


class ForcingObserver(CertaintyObserver):
    """Makes the model generate a reference's tokens, and compares the distributions.

    Each token is a decoding step of its own, for methods that select in decode have no other way.
    As long as the likeliest tokens are the reference's, this is the free greedy answer, too.
    """

    def __init__(self, reference: Reference) -> None:
        super().__init__()
        self._reference = reference
        self._divergences: list[torch.Tensor] = []
        self._agrees: list[torch.Tensor] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """See `LogitsProcessor`: `scores[1, V]`; the reference's token alone is left."""
        super().__call__(input_ids, scores)
        step = len(self._divergences)
        token = self._reference.tokens[step]
        compressed = scores[0].float().log_softmax(-1)
        uncompressed, indices = self._reference.values[step], self._reference.indices[step]
        self._divergences.append(_divergence(uncompressed, compressed[indices]))
        self._agrees.append(compressed.argmax() == token)
        forced = torch.full_like(scores, -torch.inf)
        forced[:, token] = 0.0
        return forced

    @property
    def divergence(self) -> float:
        """The mean over tokens of KL(uncompressed, compressed), in nats."""
        return float(torch.stack(self._divergences).mean())

    @property
    def agrees(self) -> bool:
        """Whether the free greedy answer has the same tokens."""
        return bool(torch.stack(self._agrees).all())


def _divergence(base: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """KL divergence of log-probabilities `[K]` of the same tokens; all others count as one."""
    # A token that is ruled out has a probability of 0 in both: 0 · (-inf + inf) isn't a number.
    kept = torch.where(base.isneginf(), 0.0, base.exp() * (base - other)).sum()
    rest, other_rest = 1 - base.exp().sum(), 1 - other.exp().sum()
    if rest < 1e-6:  # rounding
        return kept.clamp(min=0)
    return (kept + rest * (rest / other_rest.clamp(min=1e-6)).log()).clamp(min=0)
