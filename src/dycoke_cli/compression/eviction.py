"""Rules by which a capped KV cache evicts: which visual tokens of a layer stay, for each KV head.

A rule is a pure function of the keys, values and places of what a layer has in its cache; it knows
no question, for that comes after the video. `EVICTIONS` lists the rules. The cache is
`engine/capped_cache.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from dycoke_cli.errors import UsageError
from dycoke_cli.param import Param, check_all

if TYPE_CHECKING:
    import torch

Rule = Literal["tar-van", "key-norm", "recent", "uniform", "random"]
DEFAULT: Rule = "tar-van"

RECENT = 0.25
"""ρ of InfiniPot-V: the share of the cached frames that earlier tokens are compared with."""
TEMPORAL = 0.5
"""α of InfiniPot-V: the share of the tokens that stay by temporal redundancy; the others stay by
the norm of their values."""
_FRAME_BITS = 32


@dataclass(frozen=True)
class CacheLimit:
    """Limit of the KV cache that the language model reads a video into, whatever its length.

    Raises:
        UsageError: (a ValueError) a value out of range, or a rule without the limit.
    """

    max_cached_tokens: Annotated[
        int | None,
        Param(
            "Maximum visual tokens in the KV cache, per layer and KV head. The language model "
            "reads all that the method keeps of the video, window by window; above the maximum, "
            "the cache evicts to three quarters of it.",
            at_least=4,
            default="no limit",
            before=None,
        ),
    ] = None
    evict: Annotated[
        Rule | None,
        Param(
            "Rule by which the capped KV cache evicts: tar-van (InfiniPot-V: redundancy over time "
            "and value norms), key-norm (QuickVideo: large key norms go), recent, uniform (whole "
            "frames), random.",
            default=DEFAULT,
            before=None,
        ),
    ] = None

    def __post_init__(self) -> None:
        check_all(self)
        if self.max_cached_tokens is None and self.evict is not None:
            raise UsageError("evict is for max_cached_tokens; leave it out, or give both")
        if self.max_cached_tokens is not None and self.evict is None:
            object.__setattr__(self, "evict", DEFAULT)


NO_LIMIT = CacheLimit()


@dataclass(frozen=True)
class CachedTokens:
    """The V visual tokens that a layer has in its cache, in reading order, for each of H KV heads.

    Args:
        keys: `[H, V, D]`, float, with their rotary positions.
        values: `[H, V, E]`, float.
        tokens: `[H, V]`, int64: which of the video's tokens they are, `frame*N + position`.
        per_frame: N, tokens of a frame.
    """

    keys: torch.Tensor
    values: torch.Tensor
    tokens: torch.Tensor
    per_frame: int


Eviction = Callable[[CachedTokens, int], "torch.Tensor"]
"""From what is cached, and how many stay: those that do, `[H, count]`, int64, ascending in `V`."""


def tar_van(cached: CachedTokens, count: int) -> torch.Tensor:
    """Half by temporal redundancy (TaR), half by the norm of values (VaN).

    InfiniPot-V (arXiv 2506.15745, NeurIPS 2025). The r most recent frames stay, a quarter of those
    that are cached. A token of an earlier frame f, at the place j, has the score
    s(f, j) = -1/r * sum of cos(k[f, j], k[q, j]) over the recent frames q; the highest fill half of
    the budget. The largest norms of values, |v|, fill the rest. Each KV head has a set of its own.
    The authors' code takes places by the order in the cache, where they are no longer the same
    after the first eviction. Here they are the true ones.
    """
    import torch

    count_by_time = count - round((1 - TEMPORAL) * count)
    frames, places = cached.tokens // cached.per_frame, cached.tokens % cached.per_frame
    heads, held = cached.tokens.shape
    shown = max(1, int(held // cached.per_frame * RECENT))
    is_recent = frames > frames.amax() - shown
    units = torch.nn.functional.normalize(_wide(cached.keys), dim=-1)
    # The mean of cosines to several unit vectors is the product with their mean.
    means = units.new_zeros(heads, cached.per_frame, units.shape[2])
    of_recent = units * is_recent[..., None]
    means.scatter_add_(1, places[..., None].expand_as(units), of_recent)
    counts = units.new_zeros(heads, cached.per_frame).scatter_add_(1, places, is_recent.to(units))
    means = means / counts.clamp(min=1)[..., None]
    redundancy = (units * means.gather(1, places[..., None].expand_as(units))).sum(-1)
    # Above every cosine; the later first, should there be more of them than stay.
    later = 2 + torch.arange(held, device=units.device).to(units) / held
    by_time = _highest(torch.where(is_recent, later, -redundancy), count_by_time)
    norms = _wide(cached.values).norm(dim=-1).scatter(1, by_time, torch.inf)
    return _highest(norms, count)


def key_norm(cached: CachedTokens, count: int) -> torch.Tensor:
    """The smallest norms of keys, those of all KV heads joined: one set for all heads.

    QuickPrefill of QuickVideo (arXiv 2505.16175): the lowest |k|. There each group of 16 frames
    loses a share of its own tokens, once. Here all tokens compete each time, for there is a cap.
    """
    norms = _wide(cached.keys).square().sum((0, 2))
    return _highest(-norms.expand(len(cached.keys), -1), count)


def recent(cached: CachedTokens, count: int) -> torch.Tensor:
    """The last tokens; with the text before the video, which always stays, "sink and window".

    A control of InfiniPot-V's own program (`swa`).
    """
    import torch

    heads, held = cached.tokens.shape
    return torch.arange(held - count, held, device=cached.tokens.device).expand(heads, -1)


def uniform(cached: CachedTokens, count: int) -> torch.Tensor:
    """Whole frames that are evenly spaced, whatever the length of the video turns out to be.

    Frames stay in the order of van der Corput, by their number with its bits reversed: 0, 4, 2, 6,
    1, 5, 3, 7 of eight. So what stays is evenly spaced after each of any number of evictions, and
    of one frame in part the first tokens. A control, as in InfiniPot-V's own program.
    """
    import torch

    frames = cached.tokens // cached.per_frame
    order = torch.zeros_like(frames)
    for bit in range(_FRAME_BITS):
        order += ((frames >> bit) & 1) << (_FRAME_BITS - 1 - bit)
    return _highest(-order, count)


def at_random(cached: CachedTokens, count: int) -> torch.Tensor:
    """Tokens at random, the same in all heads and layers: a control.

    Each token has one random number for good, so an early token that has survived many evictions is
    as likely to stay as a late one.
    """
    import torch

    generator = torch.Generator().manual_seed(0)
    drawn = torch.rand(int(cached.tokens.amax()) + 1, generator=generator, dtype=torch.float64)
    return _highest(drawn.to(cached.tokens.device)[cached.tokens], count)


EVICTIONS: dict[Rule, Eviction] = {
    "tar-van": tar_van,
    "key-norm": key_norm,
    "recent": recent,
    "uniform": uniform,
    "random": at_random,
}


def _highest(scores: torch.Tensor, count: int) -> torch.Tensor:
    """Of `[H, V]` the `count` highest of each row, ascending; among equals the earlier stays."""
    order = scores.argsort(dim=-1, descending=True, stable=True)
    return order[:, :count].sort(dim=-1).values


def _wide(values: torch.Tensor) -> torch.Tensor:
    """In float32 at least: sums of squares overflow in float16."""
    import torch

    return values.to(torch.promote_types(values.dtype, torch.float32))
