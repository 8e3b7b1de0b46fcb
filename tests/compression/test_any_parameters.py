"""Every method with any parameters, of any number of frames and tokens: what holds of all."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dycoke_cli.compression.kv_pruning import VisualSelector
from dycoke_cli.compression.method import layer_prunings, read_by_layer, with_model_defaults
from dycoke_cli.compression.registry import METHODS, create
from dycoke_cli.errors import UsageError
from dycoke_cli.param import Parameter, parameters_of
from tests.compression.clips import LEAST, random_given
from tests.engine.reference import Selector, cosine
from tests.properties import QUICK

DEFAULTS = {"prune_layer": 3, "positions": "kept"}
LAYERS = 12


def values(parameter: Parameter) -> st.SearchStrategy[Any]:
    """What a parameter may be: the ends of its range, too."""
    spec = parameter.spec
    if parameter.kind is bool:
        found: st.SearchStrategy[Any] = st.booleans()
    elif parameter.choices:
        found = st.sampled_from(parameter.choices)
    elif spec.layer:
        found = st.integers(int(spec.bounds["at_least"]), LAYERS - 1)
    elif parameter.kind is int:
        found = st.integers(int(spec.at_least or 0), 12)
    elif parameter.kind is float:
        low = spec.at_least if spec.at_least is not None else spec.above
        high = spec.to if spec.to is not None else spec.below if spec.below is not None else 2.0
        assert low is not None
        found = st.floats(
            low, high, exclude_min=spec.at_least is None, exclude_max=spec.below is not None
        )
    else:
        return st.just(parameter.default)
    return st.none() | found if parameter.optional else found


@pytest.mark.parametrize("name", METHODS)
def test_what_is_kept_is_what_was_said(name: str) -> None:
    parameters = parameters_of(METHODS[name])

    @settings(QUICK, max_examples=30)
    @given(st.data(), st.integers(1, 9), st.integers(1, 12), st.integers(0, 3))
    def holds(data: st.DataObject, frames: int, per_frame: int, seed: int) -> None:
        chosen = {
            key: data.draw(values(parameter), label=key)
            for key, parameter in parameters.items()
            if data.draw(st.booleans(), label=f"{key} is given")
        }
        generator = torch.Generator().manual_seed(seed)
        features = torch.randn(frames, per_frame, 4, generator=generator)
        if seed == 0:  # all alike
            features = torch.ones(frames, per_frame, 4)
        try:
            method = with_model_defaults(create(name, **chosen), DEFAULTS, LAYERS)
            selection = method.choose(random_given(features))
        except UsageError:  # some don't go together, or with so few frames, and say so
            assume(False)
        kept = selection.kept.tolist()
        assert len(set(kept)) == len(kept)
        if chosen.get("variant") != "published":  # which reads them in its own order
            assert kept == sorted(kept)
        assert set(kept) <= set(range(frames * per_frame))
        assert len(kept) == method.kept_tokens(frames, per_frame)
        if (retain := getattr(method, "retain", None)) is not None:
            least = LEAST.get(name, lambda *_: 1)(frames, per_frame)
            assert len(kept) == max(least, int(frames * per_frame * retain))
        if selection.features is not None:
            assert selection.features.shape == (len(kept), 4)
            assert bool(selection.features.isfinite().all())
        if selection.into is not None:
            into = selection.into.tolist()
            assert len(into) == frames * per_frame
            assert all(into[token] == token for token in kept)
            assert set(into) <= {*kept, -1}
        assert 0 <= method.attended_tokens(len(kept)) <= len(kept)
        again = method.choose(random_given(features))
        assert torch.equal(again.kept, selection.kept)
        left = len(kept)
        prunings = layer_prunings(method, LAYERS)
        for inside in prunings:
            attention = torch.rand(left, generator=generator)
            stays = inside.select(attention, torch.rand(left, 4, generator=generator)).kept.tolist()
            assert stays == sorted(set(stays))
            assert len(stays) == read_by_layer(method, len(kept), LAYERS)[inside.layer]
            left = len(stays)
        assert left == read_by_layer(method, len(kept), LAYERS)[-1]

    holds()


@QUICK
@given(
    st.floats(0, 1, exclude_max=True),
    st.floats(0, 1.2),
    st.booleans(),
    st.booleans(),
    st.integers(2, 9).flatmap(
        lambda tokens: st.lists(
            st.lists(st.integers(1, 64), min_size=tokens, max_size=tokens), min_size=1, max_size=8
        )
    ),
)
def test_any_steps_are_selected_as_on_paper(
    ratio: float, threshold: float, recall: bool, published: bool, steps: list[list[int]]
) -> None:
    recall = recall or published
    variant = "published" if published else "paper"
    selector = VisualSelector(ratio, threshold, recall, variant)
    plainly = Selector(ratio, threshold, recall, published)
    for step in steps:
        attention = [weight / 64 for weight in step]
        if plainly.reference:  # what is equal to the threshold, rounding decides
            compared = attention[: len(plainly.reference)]  # published without the last token
            assume(abs(cosine(compared, plainly.reference) - threshold) > 1e-5)
        assert selector.step(torch.tensor(attention)).tolist() == plainly.step(attention)
        assert selector.reselections == plainly.reselections
