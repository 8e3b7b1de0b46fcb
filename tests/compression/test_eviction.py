"""Rules of a capped KV cache, against loops over tokens and by hand."""

from __future__ import annotations

from typing import get_args

import pytest
import torch

from dycoke_cli.compression.eviction import EVICTIONS, CachedTokens, CacheLimit, Rule
from dycoke_cli.errors import UsageError
from tests.compression.eviction_by_loops import stays

PER_FRAME, HEADS = 3, 2


def cached(held: int, missing: int = 0, seed: int = 0) -> CachedTokens:
    """Random keys and values; of each head so many earlier tokens were evicted at random."""
    generator = torch.Generator().manual_seed(seed)
    whole = held + missing
    drawn = torch.rand(HEADS, whole, generator=generator)
    drawn[:, whole - 2 * PER_FRAME :] = 2  # the newest frames are whole
    tokens = drawn.topk(held).indices.sort().values
    keys, values = torch.randn(2, HEADS, held, 4, generator=generator, dtype=torch.float64)
    return CachedTokens(keys, values, tokens, PER_FRAME)


@pytest.mark.parametrize("rule", EVICTIONS)
@pytest.mark.parametrize(("held", "missing", "count"), [(24, 0, 18), (24, 12, 18), (7, 0, 5)])
@pytest.mark.parametrize("seed", range(3))
def test_what_stays_is_what_loops_say(
    rule: Rule, held: int, missing: int, count: int, seed: int
) -> None:
    case = cached(held, missing, seed)
    expected = stays(
        rule,
        case.keys.tolist(),
        case.values.tolist(),
        case.tokens.tolist(),
        PER_FRAME,
        count,
    )
    assert EVICTIONS[rule](case, count).tolist() == expected


def by_hand(rule: Rule, keys: list[float], values: list[float], count: int) -> list[int]:
    """What stays of one head with two tokens per frame; keys turn by these angles, in degrees."""
    angles = torch.tensor(keys, dtype=torch.float64).deg2rad()
    vectors = torch.stack([angles.cos(), angles.sin()], -1)[None]
    norms = torch.tensor(values, dtype=torch.float64)[None, :, None]
    return EVICTIONS[rule](CachedTokens(vectors, norms, torch.arange(len(keys))[None], 2), count)[
        0
    ].tolist()


def test_by_hand_tar_van() -> None:
    """Four frames, of which one is recent; half of four stay by time: the recent frame itself."""
    angles, norms = [0, 90, 10, 80, 45, 46, 0, 90.0], [1, 2, 9, 3, 8, 4, 1, 1.0]
    assert by_hand("tar-van", angles, norms, 4) == [2, 4, 6, 7]
    # Of six, three: also the first of those that turned most since, 45 degrees.
    assert by_hand("tar-van", angles, norms, 6) == [2, 3, 4, 5, 6, 7]


def test_by_hand_uniform() -> None:
    """Frames 0, 4, 2, 6 of eight, then 1; of two tokens each."""
    tokens = [0.0] * 16
    assert by_hand("uniform", tokens, tokens, 8) == [0, 1, 4, 5, 8, 9, 12, 13]
    assert by_hand("uniform", tokens, tokens, 9) == [0, 1, 2, 4, 5, 8, 9, 12, 13]


def test_the_same_keys_in_half_precision_do_not_overflow() -> None:
    keys = torch.tensor([[[300.0] * 4, [200.0] * 4, [250.0] * 4]], dtype=torch.float16)
    case = CachedTokens(keys, keys, torch.arange(3)[None], 1)
    assert EVICTIONS["key-norm"](case, 1).tolist() == [[1]]
    assert 0 in EVICTIONS["tar-van"](case, 2)[0]


def test_a_token_has_one_random_number_however_long_the_video_is() -> None:
    """Else early tokens, which take part in more evictions, would be rarer."""
    short, long = (EVICTIONS["random"](_plain(n), n // 2)[0] for n in (20, 40))
    drawn = torch.rand(40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert short.tolist() == drawn[:20].topk(10).indices.sort().values.tolist()
    assert long.tolist() == drawn.topk(20).indices.sort().values.tolist()


def _plain(held: int) -> CachedTokens:
    nothing = torch.zeros(1, held, 2)
    return CachedTokens(nothing, nothing, torch.arange(held)[None], 1)


def test_every_rule_has_a_name_on_the_command_line() -> None:
    assert tuple(EVICTIONS) == get_args(Rule)


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"evict": "recent"}, "evict is for max_cached_tokens"),
        ({"max_cached_tokens": 3}, "max_cached_tokens must be 4 or more"),
        ({"max_cached_tokens": 9, "evict": "oldest"}, "evict must be tar-van, .* or random"),
    ],
)
def test_a_limit_that_means_nothing_is_refused(given: dict, error: str) -> None:
    with pytest.raises(UsageError, match=error):
        CacheLimit(**given)


def test_a_limit_settles_its_rule() -> None:
    assert CacheLimit(9).evict == "tar-van"
    assert CacheLimit().evict is None
