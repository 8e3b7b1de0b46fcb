"""Coverage: the tokens that best represent all tokens of a video, by features and time.

This is facility location, a submodular function, which greedy selection brings within 1 - 1/e of
its best value (Nemhauser, Wolsey and Fisher 1978).
"""

from __future__ import annotations

from collections.abc import Sequence

from dycoke_cli.compression.method import Selection, counted_on
from dycoke_cli.lazy_torch import torch

WINDOW = 8
# Distances, relative to their mean, and similarities are multiples of these. So equal pairs are
# equal whatever the rounding of a product was, and sums of similarities are exact in float32: gains
# don't depend on the order in which they are updated, ties are ties, and the lower index wins.
DISTANCE_STEP = 2.0**-10
SIMILARITY_STEP = 2.0**-12
ROWS = 256
"""Rows of a matrix that are worked on together: a copy of all would take two or three times the
memory of the matrix. Sums don't depend on it: they are exact, in float32 up to 4,096 rows."""
# Where all tokens of a video are equal, no distance is large.
LEAST_SPREAD = 2.0**-10


def similarities(features: torch.Tensor, window: int = WINDOW) -> list[torch.Tensor]:
    """How well the tokens of each window represent each other: see `alike_in`, of times in windows.

    Args:
        features: `[F, N, D]`, float.
        window: frames per window; tokens of different windows don't represent each other.
    """
    frames, per_frame = features.shape[:2]
    times = torch.arange(frames, device=features.device).repeat_interleave(per_frame) / window
    lengths = [len(part) * per_frame for part in features.split(window)]
    return alike_in(features.flatten(0, 1), times, lengths)


def alike_in(
    tokens: torch.Tensor, times: torch.Tensor, lengths: Sequence[int]
) -> list[torch.Tensor]:
    """How well tokens represent each other, in each part of them.

    Of unit vectors u and their times t, `exp(-d_ij / m - |t_i - t_j|)`, where
    `d_ij = 1 - u_i · u_j`, and m is the mean of d over all pairs of the video.

    Args:
        tokens: `[V, D]`, float.
        times: `[V]`, float32.
        lengths: tokens of each part; they sum to V.

    Returns:
        For each part `[n, n]`, float32, symmetric, 0-1.
    """
    units = torch.nn.functional.normalize(tokens.float(), dim=-1)
    # The mean of 1 - u_i · u_j over all pairs is 1 - |mean u|²: no matrix of all pairs is needed.
    center = units.mean(0)
    spread = (1 - center @ center).clamp_min(LEAST_SPREAD)
    times = times[:, None]
    alike_by_window = []
    for unit, time in zip(units.split(lengths), times.split(lengths), strict=True):
        cosines = unit @ unit.T
        # A product needn't be symmetric to the last bit.
        apart = (cosines + cosines.T).div_(-2).add_(1).div_(spread * DISTANCE_STEP)
        del cosines
        apart = apart.round_().clamp_min_(0).mul_(DISTANCE_STEP)
        alike = apart.add_(torch.cdist(time, time, p=1)).neg_().exp_()
        alike_by_window.append(alike.div_(SIMILARITY_STEP).round_().mul_(SIMILARITY_STEP))
    return alike_by_window


def most_covering(
    alike: list[torch.Tensor], count: int, weights: torch.Tensor | None = None
) -> torch.Tensor:
    """Select greedily: each time the token whose selection adds most to the coverage.

    The coverage is the sum, over all tokens, of the similarity to the selected token that
    represents them best. Windows compete for one budget.

    Args:
        alike: of `similarities`.
        count: how many, at most as many as there are.
        weights: `[V]`, int64: how often each token counts in the coverage; None is once.

    Returns:
        `[count]`, int64, in order of selection; among equal gains the lower index comes first.
    """
    # Each step reads a few rows of one matrix, and is known before the next: work for a CPU.
    lengths = [len(matrix) for matrix in alike]
    each = [None] * len(alike) if weights is None else weights.cpu().double().split(lengths)
    windows = [_SelectingWindow(matrix.cpu(), of) for matrix, of in zip(alike, each, strict=True)]
    firsts = torch.tensor([0, *lengths]).cumsum(0).tolist()
    # The best token of a window changes only when one of that window is selected. So each selection
    # updates one window, and compares one number of each of the others.
    gains = [window.most for window in windows]
    chosen = []
    for _ in range(count):
        number = gains.index(max(gains))
        chosen.append(firsts[number] + windows[number].take())
        gains[number] = windows[number].most
    return torch.tensor(chosen, dtype=torch.int64)


class _SelectingWindow:
    """The tokens of one window while some of them are selected.

    Attributes:
        most: the largest gain that one more would bring.
    """

    def __init__(self, alike: torch.Tensor, weights: torch.Tensor | None) -> None:
        self._alike, self._weights = alike, weights
        self._covered = alike.new_zeros(len(alike))
        self._gains = torch.zeros(len(alike), dtype=torch.float64)
        for first in range(0, len(alike), ROWS):
            self._gains += self._summed(alike[first : first + ROWS], slice(first, first + ROWS))
        self._find()

    def _summed(self, rows: torch.Tensor, of: slice | torch.Tensor) -> torch.Tensor:
        # Sums of weighted similarities are exact in float64.
        if self._weights is None:
            return rows.sum(0, dtype=torch.float64)
        return self._weights[of] @ rows.double()

    def _find(self) -> None:
        most, at = self._gains.max(0)
        self.most, self._at = most.item(), int(at)

    def take(self) -> int:
        """Select the token with the largest gain; return its index in the window."""
        taken = self._at
        to_taken = self._alike[taken]
        # Only tokens that the new one represents better change, a smaller part with each selection.
        for better in (to_taken > self._covered).nonzero().flatten().split(ROWS):
            before, now = self._covered[better], to_taken[better]
            # What another token would have added to these, and no longer can.
            others = self._alike.index_select(0, better)
            torch.minimum(others, now[:, None], out=others)
            lost = others.sub_(before[:, None]).clamp_min_(0)
            self._gains -= self._summed(lost, better)
            self._covered[better] = now
        # Below every gain, which are 0 or more: it isn't selected twice.
        self._gains[taken] = -1.0
        self._find()
        return taken


def merged(
    tokens: torch.Tensor,
    alike: list[torch.Tensor],
    kept: torch.Tensor,
    weights: torch.Tensor | None = None,
) -> Selection:
    """Each kept token as the mean of itself and of those that it represents best, float32.

    Of float64 tokens float64; ties go to the lower index. Tokens of a window of which nothing is
    kept are dropped.

    Args:
        tokens: `[V, D]`, float.
        alike: of `similarities`.
        kept: `[M]`, int64, ascending.
        weights: `[V]`, int64: how often each token counts in a mean; None is once.
    """
    exact = torch.promote_types(tokens.dtype, torch.float32)
    means, into, first = [tokens[:0].to(exact)], [], 0
    for matrix in alike:
        window = slice(first, first + len(matrix))
        kept_here = kept[(kept >= first) & (kept < window.stop)] - first
        owner = kept_here.new_full((len(matrix),), -1)
        if len(kept_here):
            owner = kept_here[matrix[kept_here].max(0).indices]
            owner[kept_here] = kept_here  # a copy of it may be kept as well
            # A product, since adding by index has no fixed order on an accelerator.
            belongs = (owner == kept_here[:, None]).to(exact)
            if weights is not None:
                belongs *= weights[window].to(belongs)
            means.append(belongs @ tokens[window].to(exact) / belongs.sum(1, keepdim=True))
        into.append(counted_on(owner, first))
        first = window.stop
    return Selection(kept, torch.cat(means), torch.cat(into))
