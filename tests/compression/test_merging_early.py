"""What is merged inside the vision tower for methods with a budget, against its rule by loops."""

from __future__ import annotations

import pytest
import torch

from dycoke_cli.compression.budget import keep_changed
from dycoke_cli.compression.method import SelectionInputs
from dycoke_cli.compression.registry import create
from dycoke_cli.engine.selecting import selected
from tests.compression.clips import CLIPS, cosine, floats, single


def by_loops(frames: list[list[list[float]]]) -> list[int]:
    """In each eight frames the first, and of the rest the three tenths that changed most."""
    size, kept = len(frames[0]), []
    for begin in range(0, len(frames), 8):
        window = frames[begin : begin + 8]
        kept += [begin * size + n for n in range(size)]
        ranked = sorted(
            (single(cosine(window[f][n], window[f - 1][n])), (begin + f) * size + n)
            for f in range(1, len(window))
            for n in range(size)
        )
        kept += sorted(token for _, token in ranked[: int(len(ranked) * (1 - 0.7))])
    return kept


@pytest.mark.parametrize("clip", CLIPS)
def test_it_is_the_rule_by_loops(clip: str) -> None:
    assert keep_changed(CLIPS[clip]).tolist() == by_loops(floats(clip))


@pytest.mark.parametrize("frames", [1, 2, 8, 9, 16, 19])
def test_every_window_is_chosen_from_alone(frames: int) -> None:
    features = torch.randn(frames, 6, 4, generator=torch.Generator().manual_seed(frames))
    kept = keep_changed(features).tolist()
    assert kept == by_loops(features.double().tolist())
    windows = [keep_changed(window) + 48 * n for n, window in enumerate(features.split(8))]
    assert kept == torch.cat(windows).tolist()


@pytest.mark.parametrize("name", ["dycoke-plus", "evs"])
def test_dropped_tokens_are_merged_once(name: str) -> None:
    """What `dycoke-plus` has merged isn't merged again; `evs` has it done, if that is asked."""
    features = torch.randn(24, 6, 4, generator=torch.Generator().manual_seed(3))
    inputs = SelectionInputs(features)
    window = {"window": 4} if name == "dycoke-plus" else {}
    method = create(name, retain=0.3, merge_dropped=True, **window)
    chosen, merged = method.choose(inputs), selected(method, inputs)
    assert torch.equal(merged.kept, chosen.kept)
    assert merged.features is not None
    if name == "dycoke-plus":
        assert chosen.features is not None
        assert torch.equal(merged.features, chosen.features)
        assert torch.equal(merged.into, chosen.into)
    else:
        assert chosen.features is None
        assert not torch.equal(merged.features, features.flatten(0, 1)[chosen.kept])
    plain = create(name, retain=0.3, merge_dropped=False)
    assert selected(plain, inputs).features is None
    # All tokens are nothing to merge.
    assert selected(create(name, retain=1.0, merge_dropped=True), inputs).features is None
