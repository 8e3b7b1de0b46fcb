"""ToMe against loops over tokens, which carry the size of each merged token on."""

from __future__ import annotations

import pytest
import torch

from dycoke_cli.compression.method import Method
from dycoke_cli.compression.methods.llava_scissor import LLaVAScissor
from dycoke_cli.compression.methods.tome import ToMe
from tests.compression.clips import BUDGETS, CLIPS, assert_selected, cosine, given, single

Token = tuple[int, float, list[float]]
"""Place in the video, size, and what it is."""


def one_round(tokens: list[Token], most: int) -> list[Token]:
    """Bipartite soft matching: `most` tokens go, or all of the first set that may."""
    first, second = tokens[::2], tokens[1::2]
    links = []
    for i, (_, _, token) in enumerate(first):
        alike = [single(cosine(token, other, 1e-12)) for _, _, other in second]
        links.append((-max(alike), i, alike.index(max(alike))))
    links = sorted(links)[: min(most, len(tokens) // 2)]
    merged = dict(enumerate(second))
    for _, i, j in links:
        (_, size, token), (place, other_size, other) = first[i], merged[j]
        whole = size + other_size
        both = [(size * a + other_size * b) / whole for a, b in zip(token, other, strict=True)]
        merged[j] = (place, whole, both)
    gone = {i for _, i, _ in links}
    return sorted([*(one for i, one in enumerate(first) if i not in gone), *merged.values()])


def reference(frames: list, retain: float) -> dict[int, Token]:
    tokens = [(place, 1.0, t) for place, t in enumerate(t for frame in frames for t in frame)]
    count = max(1, int(len(tokens) * retain))
    while len(tokens) > count:
        tokens = one_round(tokens, len(tokens) - count)
    return {token[0]: token for token in tokens}


@pytest.mark.parametrize("clip", CLIPS)
def test_it_is_the_rule_by_loops(clip: str) -> None:
    for retain in BUDGETS:
        expected = reference(CLIPS[clip].double().tolist(), retain)
        selection = ToMe(retain=retain).choose(given(clip))
        assert_selected(selection, {place: token for place, (_, _, token) in expected.items()})
        assert selection.sizes is not None
        assert selection.sizes.tolist() == [expected[p][1] for p in sorted(expected)]


@pytest.mark.parametrize(
    ("method", "module"), [(ToMe(0.3), "tome"), (LLaVAScissor(0.3), "llava_scissor")]
)
def test_it_compares_more_tokens_than_fit_at_once(
    method: Method, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = method.choose(given("drift"))
    for place in (f"methods.{module}", "similar"):
        monkeypatch.setattr(f"dycoke_cli.compression.{place}.ROWS", 7)
    parts = method.choose(given("drift"))
    assert torch.equal(whole.kept, parts.kept)
    torch.testing.assert_close(whole.features, parts.features)
