"""Hidden states that are merged inside the language model, against loops over tokens."""

from __future__ import annotations

import pytest
import torch

from dycoke_cli.compression.inner_selection import merged_into_similar
from dycoke_cli.compression.method import with_model_defaults
from dycoke_cli.compression.methods.holitom import HoliTom
from dycoke_cli.compression.registry import create, symbols
from dycoke_cli.errors import UsageError
from tests.compression.clips import CLIPS, cosine, single

METHODS = ("holitom", "earlytom", "flashvid", "framefusion")
ROUNDED_UP = {"flashvid": 0.3}
"""Methods that round the number of what they choose up; and their share."""
DROPPING = ("flashvid", "framefusion")
"""Methods that drop what they don't choose."""


def by_loops(hidden: list[list[float]], kept: list[int]) -> list[list[float]]:
    """The running means, a token at a time."""
    found = {token: hidden[token] for token in kept}
    for token, state in enumerate(hidden):
        if token not in found:
            alike = {k: single(cosine(state, hidden[k], eps=1e-12)) for k in kept}
            into = min(kept, key=lambda k: (-alike[k], k))
            found[into] = [(a + b) / 2 for a, b in zip(found[into], state, strict=True)]
    return [found[token] for token in kept]


@pytest.mark.parametrize("clip", CLIPS)
@pytest.mark.parametrize("share", [0.01, 0.3, 0.5, 1.0])
def test_each_dropped_one_is_averaged_into_the_most_similar(clip: str, share: float) -> None:
    hidden = CLIPS[clip].flatten(0, 1)
    count = max(1, round(len(hidden) * share))
    order = torch.randperm(len(hidden), generator=torch.Generator().manual_seed(count))
    kept = order[:count].sort().values
    merged = merged_into_similar(hidden, kept)
    expected = torch.tensor(by_loops(hidden.double().tolist(), kept.tolist()), dtype=torch.float64)
    torch.testing.assert_close(merged, expected, atol=1e-12, rtol=1e-9)
    assert share < 1 or torch.equal(merged, hidden.double())


def test_the_order_of_merging_counts() -> None:
    """By hand: (((8 + 4) / 2) + 2) / 2, and not the mean."""
    hidden = torch.tensor([[4.0], [8.0], [2.0]])
    assert merged_into_similar(hidden, torch.tensor([1])).tolist() == [[4.0]]
    assert merged_into_similar(hidden.flip(0), torch.tensor([1])).tolist() == [[4.5]]


@pytest.mark.parametrize("name", METHODS)
def test_the_choice_is_by_attention_and_rounded(name: str) -> None:
    assert create(name).inside() is None
    assert create(name).attended_tokens(7) == 7
    method = create(name, inner_layer=18)
    inside = method.inside()
    assert inside is not None
    assert inside.layer == 18
    assert inside.keep(torch.tensor([0.1, 0.3, 0.1, 0.3, 0.1])).tolist() == [1, 3]
    assert (inside.merge is None) == (name in DROPPING)
    # Half of 7 is 3.5, which is rounded to 4; half of 1 is 1 at least. Of 7, .3 are 2.1.
    counts = ((7, 3), (1, 1), (1568, 471)) if name in ROUNDED_UP else ((7, 4), (1, 1), (1568, 784))
    for visual, left in counts:
        assert method.attended_tokens(visual) == left
        assert len(inside.keep(torch.zeros(visual))) == left
    assert create(name, inner_layer=1, inner_retain=0.25).attended_tokens(1000) == 250


@pytest.mark.parametrize("name", METHODS)
def test_its_parameters(name: str) -> None:
    assert symbols(create(name, retain=0.5), 10) == ["R=0.5"]
    shown = symbols(create(name, retain=0.5, inner_layer=18), 10)
    assert shown == ["R=0.5 L=18", f"r={ROUNDED_UP.get(name, 0.5)}"]
    with pytest.raises(UsageError, match="inner_layer must be 1 or more, not 0"):
        create(name, inner_layer=0)
    with pytest.raises(UsageError, match="inner_retain must be above 0 and at most 1, not 0"):
        create(name, inner_layer=1, inner_retain=0.0)
    with pytest.raises(UsageError, match=r"inner_layer must be from 1 to 27 for qwen, .* not 28"):
        with_model_defaults(HoliTom(inner_layer=28), {}, 28, "qwen")
