"""Every method of the registry; parameters and their ranges."""

import pytest
import torch

import dycoke_cli
from dycoke_cli.compression.method import with_model_defaults
from dycoke_cli.compression.registry import METHODS, create
from dycoke_cli.errors import UsageError
from tests.compression.clips import random_given


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("frames", [1, 2, 4, 5, 9])
def test_what_is_kept_is_a_choice_of_indices(name, frames):
    method = create(name)
    features = torch.randn(frames, 10, 8)
    kept = method.choose(random_given(features)).kept.tolist()
    assert kept == sorted(set(kept))
    assert set(kept) <= set(range(frames * 10))
    assert len(kept) == method.kept_tokens(frames, 10)


def test_every_method_is_a_public_name():
    public = [getattr(dycoke_cli, name) for name in dycoke_cli.__all__]
    assert all(method in public for method in METHODS.values())
    assert {*dycoke_cli.__all__} <= {*dir(dycoke_cli)}
    with pytest.raises(AttributeError, match="has no attribute 'DyCake'"):
        _ = dycoke_cli.DyCake


def test_none_keeps_everything():
    assert create("none").select(torch.randn(3, 4, 2)).tolist() == list(range(12))
    assert create("none").pruning() is None
    assert create("none").parameters() == {}


def test_random_is_a_draw_that_can_be_repeated():
    features = torch.randn(8, 20, 4)
    first, again = (create("random").select(features).tolist() for _ in range(2))
    other = create("random", draw_seed=1).select(features).tolist()
    assert first == again != other
    assert len(first) == create("dycoke").kept_tokens(8, 20)
    assert first != create("dycoke").select(features).tolist()


def test_fastv_keeps_what_was_looked_at_most():
    inside = create("fastv", prune_ratio=0.5, prune_layer=4).inside()
    assert inside.layer == 4
    assert inside.keep(torch.tensor([0.1, 0.3, 0.1, 0.3, 0.1])).tolist() == [1, 3]
    assert inside.keep(torch.tensor([0.2, 0.1, 0.2, 0.1, 0.2, 0.2])).tolist() == [0, 2, 4]
    assert create("fastv").parameters() == {"prune_ratio": 0.5, "prune_layer": 2}
    assert create("fastv", prune_ratio=0.0).inside().keep(torch.rand(7)).tolist() == [*range(7)]


def test_fastv_counts_are_int_of_double_precision():
    # (1 - 0.9) * 10 is 0.9999…
    assert create("fastv", prune_ratio=0.9).inside().keep(torch.rand(10)).tolist() == []


def test_a_models_defaults_count_for_the_methods_they_were_measured_with():
    defaults = {"prune_layer": 4, "positions": "kept"}
    assert with_model_defaults(create("fastv"), defaults).prune_layer == 2
    assert with_model_defaults(create("fastv", prune_layer=3), defaults).prune_layer == 3
    for name in ("dycoke", "random"):
        method = with_model_defaults(create(name), defaults)
        assert (method.prune_layer, method.positions) == (4, "kept")
        assert with_model_defaults(create(name, prune_layer=1), defaults).prune_layer == 1
    assert with_model_defaults(create("none"), defaults) == create("none")


def test_the_published_variant_has_positions_of_its_own():
    method = with_model_defaults(
        create("dycoke", variant="published"), {"prune_layer": 4, "positions": "kept"}
    )
    assert (method.prune_layer, method.positions) == (4, "renumbered")


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"prune_layer": 0}, "prune_layer must be 1 or more, not 0"),
        ({"recall": True}, "method fastv has no parameter recall"),
    ],
)
def test_fastv_out_of_range(parameters, sentence):
    with pytest.raises(UsageError, match=sentence):
        create("fastv", **parameters)


def test_stages_can_be_switched_off():
    assert create("dycoke", ttm=False).kept_tokens(8, 10) == 80
    assert create("dycoke", kv_prune=False).pruning() is None
    assert create("dycoke", prune_layer=5).pruning().layer == 5


def test_defaults_are_the_papers():
    paper = {"prune_layer": 3, "positions": "renumbered"}
    defaults = {
        "ttm": True,
        "merge_ratio": 0.7,
        "window": 4,
        "kv_prune": True,
        "prune_ratio": 0.7,
        "prune_layer": 3,
        "recall": True,
        "recall_threshold": 0.9,
        "variant": "paper",
        "positions": "renumbered",
        "merge_stage": "llm",
    }
    assert defaults.items() <= with_model_defaults(create("dycoke"), paper).parameters().items()


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"prune_layer": 0}, "prune_layer must be 1 or more, not 0"),
        ({"variant": "published", "positions": "kept"}, "always renumbers"),
        ({"variant": "published", "window": 8}, "has a window of 4, not 8"),
        ({"ratio": 0.5}, "method dycoke has no parameter ratio"),
    ],
)
def test_out_of_range(parameters, sentence):
    with pytest.raises(UsageError, match=sentence):
        create("dycoke", **parameters)


def test_an_unknown_method_gets_the_nearest_name():
    with pytest.raises(UsageError, match="did you mean dycoke"):
        create("dycok")


def test_selections_of_sparsevlm_must_not_descend() -> None:
    create("sparsevlm", first_layer=3, second_layer=3, third_layer=5)
    with pytest.raises(UsageError, match="must not descend, not 5, 3"):
        create("sparsevlm", first_layer=5, third_layer=3)
