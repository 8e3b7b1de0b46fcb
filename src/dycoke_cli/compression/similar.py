"""Similarity of tokens, clusters of similar ones, and the grid of a frame."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import isqrt

from dycoke_cli.compression.method import top
from dycoke_cli.lazy_torch import F, torch

ROWS = 1024
"""Tokens that are compared with all others at once: more would take memory."""


def all_but(chosen: torch.Tensor, tokens: int) -> torch.Tensor:
    """`[tokens]`, bool: which of so many tokens aren't in `chosen[M]`, int64, in any order."""
    others = chosen.new_ones(tokens, dtype=torch.bool)
    others[chosen] = False
    return others


def wide(tokens: torch.Tensor) -> torch.Tensor:
    """Tokens in the widest dtype that their device has: float64, or float32 on Apple's GPUs.

    What is computed in it and then rounded to float32 ties exactly where it should (static footage
    is full of equal pairs, whose similarities come out as 1 or 0.9999999 by chance in float32),
    and the lower index wins.
    """
    return tokens.to(torch.float32 if tokens.device.type == "mps" else torch.float64)


def cosine_similarity(
    tokens: torch.Tensor, others: torch.Tensor, eps: float = 1e-8
) -> torch.Tensor:
    """Cosine similarity of tokens with others, along the last dimension.

    Args:
        tokens: `[..., D]`, float.
        others: the same, or a shape that fits it.
        eps: the least norm that a token is divided by.

    Returns:
        `[...]`, float32.
    """
    return F.cosine_similarity(wide(tokens), wide(others), dim=-1, eps=eps).float()


def similarity_to_frame_before(features: torch.Tensor) -> torch.Tensor:
    """Of each token to that at the same position in the frame before.

    Args:
        features: `[F, N, D]`, float.

    Returns:
        `[F - 1, N]`, float32: of all frames but the first.
    """
    frames, per_frame = features.shape[:2]
    similarity = torch.empty(frames - 1, per_frame, device=features.device)
    for frame in range(1, frames):  # copies of all frames in float64 would be large
        similarity[frame - 1] = cosine_similarity(features[frame], features[frame - 1])
    return similarity


def distances(tokens: torch.Tensor) -> torch.Tensor:
    """Euclidean distances of `tokens[n, D]`, divided by √D: `[n, n]`, float32; of equal ones 0."""
    tokens = wide(tokens)
    lengths = (tokens**2).sum(-1)
    both = lengths[:, None] + lengths
    squares = both - 2 * tokens @ tokens.T
    # |a|² + |b|² - 2 a · b of equal tokens is a rounding error, perhaps below 0: taken as 0.
    squares = squares.masked_fill(squares <= 1e-12 * both, 0) / tokens.shape[-1]
    return squares.sqrt().float()


def density_peaks(apart: torch.Tensor, count: int, neighbors: int) -> torch.Tensor:
    """Centers of clusters (DPC-kNN): tokens in dense places, far from any denser token.

    A token's density is exp(-mean squared distance) of its nearest neighbors, itself among them;
    its score is the density times the distance to the nearest denser token, or for the densest the
    largest distance of all. Of tokens of equal density the lower index counts as denser (published
    code adds noise instead), and of equal scores it is chosen.

    Args:
        apart: `[n, n]`, float32: `distances`.
        count: how many.
        neighbors: k, at most n.

    Returns:
        `[count]`, int64, ascending.
    """
    nearest = (wide(apart) ** 2).sort(dim=-1).values[:, :neighbors]
    density = torch.exp(-nearest.mean(-1)).float()
    # Ranks in place of densities: no two are equal, so exactly one token has none that is denser.
    rank = torch.empty_like(density, dtype=torch.int64)
    rank[density.argsort(descending=True, stable=True)] = torch.arange(
        len(density), device=density.device
    )
    denser = rank[None] < rank[:, None]
    away = apart.masked_fill(~denser, torch.inf).amin(-1)
    # No token is denser than the first: it gets the largest distance, so it is always a center.
    away[rank == 0] = apart.max()
    return top((wide(density) * away).float(), count)


def clustered(
    tokens: torch.Tensor, count: int, neighbors: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Clusters around density peaks: each token belongs to the nearest center.

    Args:
        tokens: `[n, D]`, float.
        count: how many, 1 … n.
        neighbors: see `density_peaks`.

    Returns:
        Centers `[count]`, int64, ascending, and the cluster of each token, `[n]`, int64. A center
        is in its own; of equally near centers it is the first.
    """
    apart = distances(tokens)
    centers = density_peaks(apart, count, neighbors)
    owner = apart[:, centers].argmin(-1)
    owner[centers] = torch.arange(count, device=owner.device)
    return centers, owner


def means(
    tokens: torch.Tensor, owner: torch.Tensor, groups: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The mean of the tokens of each group.

    Args:
        tokens: `[n, D]`, float.
        owner: `[n]`, int64: the group of each.
        groups: how many.

    Returns:
        Means `[groups, D]` in the widest dtype, 0 for a group without tokens; and how many tokens
        each has, `[groups]`, int64.
    """
    member = owner == torch.arange(groups, device=owner.device)[:, None]
    counts, tokens = member.sum(-1), wide(tokens)
    # A product: adding by index has no fixed order on GPUs, and rounding would depend on it.
    sums = torch.cat([some.to(tokens) @ tokens for some in member.split(ROWS)])
    return sums / counts.clamp(min=1)[:, None], counts


class LinkedGroups:
    """Tokens that are linked pair by pair, each group named by its first one."""

    def __init__(self, first: Iterable[int]) -> None:
        self._above = [*first]
        self._count = sum(above == token for token, above in enumerate(self._above))

    def __len__(self) -> int:
        return self._count

    def unite(self, pairs: Iterable[Sequence[int]], least: int = 1) -> None:
        """Unite the groups of pairs one after the other, until so few groups are left."""
        for pair in pairs:
            if self._count == least:
                return
            one, other = map(self._leader, pair)
            if one != other:
                self._above[max(one, other)] = min(one, other)
                self._count -= 1

    def of_each(self) -> list[int]:
        """Of each token the first one of its group."""
        return [self._leader(token) for token in range(len(self._above))]

    def leaders(self) -> list[int]:
        """The first token of each group, ascending."""
        return [token for token, above in enumerate(self._above) if token == above]

    def _leader(self, token: int) -> int:
        above = self._above
        while above[token] != token:
            above[token] = above[above[token]]
            token = above[token]
        return token


def sides(per_frame: int) -> tuple[int, int]:
    """Height and width of the grid, row by row: no whole numbers closer to a square make N."""
    height = max(d for d in range(1, isqrt(per_frame) + 1) if per_frame % d == 0)
    return height, per_frame // height
