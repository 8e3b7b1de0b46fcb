"""The budget of methods that keep a fraction of the visual tokens before the language model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Annotated, Literal

from dycoke_cli.compression.base import Method, bound_value
from dycoke_cli.param import Param

if TYPE_CHECKING:
    import torch

RETAIN = Param(
    "Share of the video's tokens to keep (0.25 is a quarter). Of methods with a budget; the number "
    "of tokens is exact.",
    symbol="R",
    above=0,
    to=1,
    budget=True,
)

Positions = Annotated[
    Literal["kept", "renumbered"] | None,
    Param(
        "Positions of the remaining tokens: kept (original) or renumbered (contiguous).",
        default="renumbered; kept for models whose positions are time, height and width, and "
        "where the checkpoint says so (`dycoke models info`), unless a video is read in several "
        "windows",
    ),
]


def budget(frames: int, per_frame: int, retain: float) -> int:
    """The number of tokens of a budget: `int(F * N * retain)`, in float64, 1 at least.

    Args:
        retain: R, 0 < R ≤ 1.
    """
    return max(1, int(frames * per_frame * retain))


def evenly(count: int, of: int) -> torch.Tensor:
    """Numbers that are evenly spaced: the middles of as many equal parts of `range(of)`.

    Args:
        count: how many, at most `of`.
        of: of how many.

    Returns:
        `[count]`, int64, ascending.
    """
    import torch

    return (2 * torch.arange(count) + 1) * of // (2 * max(1, count))


def shares(total: int, parts: int) -> list[int]:
    """A number in parts as equal as whole numbers can be; larger ones are spread evenly."""
    return in_proportion(total, [1] * parts)


def in_proportion(total: int, sizes: Sequence[int]) -> list[int]:
    """A number in parts that are in proportion to sizes, as far as whole numbers can be.

    Args:
        total: what the parts add up to; 0 where all sizes are.
        sizes: no part is larger than its size, unless all together are smaller than the total.
    """
    whole = max(1, sum(sizes))
    ends = [up_to * total // whole for up_to in accumulate(sizes, initial=0)]
    return [end - start for start, end in pairwise(ends)]


@dataclass(frozen=True)
class Budgeted(Method):
    """Methods that keep a given fraction of the visual tokens before the language model."""

    retain: Annotated[float, RETAIN] = 0.25
    positions: Positions = None

    def kept_tokens(self, frames: int, per_frame: int) -> int:
        """The budget, exactly."""
        return budget(frames, per_frame, self.retain)

    def renumbers(self) -> bool:
        """Whether kept tokens close the gaps in their positions."""
        return bound_value(self.positions) == "renumbered"
