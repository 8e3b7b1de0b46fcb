"""CDPruner against determinants of every choice of one more token."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
import torch

from dycoke_cli.compression.method import SelectionInputs
from dycoke_cli.compression.methods import cdpruner
from dycoke_cli.compression.methods.cdpruner import CDPruner
from dycoke_cli.compression.registry import parse_specs
from tests.compression.clips import BUDGETS, CLIPS, cosine, given

SMALL = [clip for clip, features in CLIPS.items() if features.shape[:2].numel() <= 60]


def relevances(tokens: list, question: list, weight: float) -> list[float]:
    alike = [sum(cosine(t, q, 1e-12) for q in question) / len(question) for t in tokens]
    span = max(alike) - min(alike)
    scaled = [(a - min(alike)) / span if span > 1e-6 else 1.0 for a in alike]
    return [1 - weight + weight * s for s in scaled]


def reference(tokens: list, relevance: list[float], count: int) -> list[int]:
    """Greedily the token with which the kernel's determinant is largest."""
    kernel = torch.tensor(
        [
            [ra * rb * cosine(a, b, 1e-12) for b, rb in zip(tokens, relevance, strict=True)]
            for a, ra in zip(tokens, relevance, strict=True)
        ],
        dtype=torch.float64,
    )
    chosen: list[int] = []
    whole = 1.0
    while len(chosen) < count:
        gains = {}
        for n in range(len(tokens)):
            if n not in chosen:
                at = [*chosen, n]
                gains[n] = float(torch.linalg.det(kernel[at][:, at])) / whole
        best = max(gains, key=lambda n: (round(gains[n], 7), -n))
        if gains[best] <= 1e-6:
            rest = sorted(gains, key=lambda n: (-round(relevance[n], 6), n))
            return sorted(chosen + rest[: count - len(chosen)])
        chosen.append(best)
        whole *= gains[best]
    return sorted(chosen)


def test_without_a_weight_it_asks_for_no_question() -> None:
    clip = CLIPS["drift"]
    without = CDPruner(relevance_weight=0.0)
    assert (without.needs, CDPruner(relevance_weight=0.1).needs) == ((), ("question",))
    kept = without.choose(SelectionInputs(clip)).kept.tolist()
    assert kept == without.choose(replace(given("drift"), features=clip)).kept.tolist()


@pytest.mark.parametrize(
    ("clip", "weight", "ahead"),
    [*product(SMALL, (1.0, 0.5, 0.0), ((64, 256), (3, 7), (1, 1)))],
)
def test_it_is_the_greedy_choice_by_determinants(
    clip: str, weight: float, ahead: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many rows of the kernel are made together."""
    monkeypatch.setattr(cdpruner, "_AHEAD", ahead[0])
    monkeypatch.setattr(cdpruner, "_NEAR", ahead[1])
    of_clip = given(clip)
    tokens = of_clip.features.flatten(0, 1).double().tolist()
    relevance = relevances(tokens, of_clip.question.double().tolist(), weight)
    for retain in BUDGETS:
        count = max(1, int(len(tokens) * retain))
        chosen = CDPruner(retain=retain, relevance_weight=weight).choose(of_clip).kept.tolist()
        assert chosen == reference(tokens, relevance, count), retain


def test_dpp_is_it_without_a_question() -> None:
    [spec] = parse_specs("dpp:retain=0.25")
    of_clip = given("drift")
    without = replace(of_clip, question=of_clip.question[:0])
    kept = spec.create().choose(of_clip).kept.tolist()
    assert kept == CDPruner(retain=0.25).choose(without).kept.tolist()
    assert kept != CDPruner(retain=0.25).choose(of_clip).kept.tolist()


def test_rows_are_made_for_what_is_chosen_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a video that stands still: a row alone costs nearly as much as a block."""
    blocks: list[int] = []
    real = cdpruner._likely

    def counted(kernel: torch.Tensor, count: int) -> list[int]:
        blocks.append(count)
        return real(kernel, count)

    monkeypatch.setattr(cdpruner, "_likely", counted)
    generator = torch.Generator().manual_seed(0)
    still = torch.randn(1, 40, 48, generator=generator).expand(16, 40, 48)
    features = still + 0.05 * torch.randn(16, 40, 48, generator=generator)
    question = torch.randn(5, 48, generator=generator)
    kept = CDPruner(retain=0.25).choose(SelectionInputs(features, question=question)).kept
    assert len(kept) == 160
    assert len(blocks) <= 2 * 160 / 64 + 1
