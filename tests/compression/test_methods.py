"""Every method of the registry; parameters and their ranges."""

import pytest
import torch

import dycoke_cli
from dycoke_cli.compression.method import with_model_defaults
from dycoke_cli.compression.methods.sparsevlm import clusters_of
from dycoke_cli.compression.registry import METHODS, create
from dycoke_cli.errors import UsageError


def test_every_method_is_a_public_name():
    public = [getattr(dycoke_cli, name) for name in dycoke_cli.__all__]
    assert all(method in public for method in METHODS.values())
    assert {*dycoke_cli.__all__} <= {*dir(dycoke_cli)}
    with pytest.raises(AttributeError, match="has no attribute 'DyCake'"):
        _ = dycoke_cli.DyCake


def test_fastv_keeps_what_was_looked_at_most():
    inside = create("fastv", prune_ratio=0.5, prune_layer=4).inside()
    assert inside.layer == 4
    assert inside.keep(torch.tensor([0.1, 0.3, 0.1, 0.3, 0.1])).tolist() == [1, 3]
    assert inside.keep(torch.tensor([0.2, 0.1, 0.2, 0.1, 0.2, 0.2])).tolist() == [0, 2, 4]
    assert create("fastv").parameters() == {"prune_ratio": 0.5, "prune_layer": 2}
    assert create("fastv", prune_ratio=0.0).inside().keep(torch.rand(7)).tolist() == [*range(7)]


def test_the_published_variant_has_positions_of_its_own():
    method = with_model_defaults(
        create("dycoke", variant="published"), {"prune_layer": 4, "positions": "kept"}
    )
    assert (method.prune_layer, method.positions) == (4, "renumbered")


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


def test_sparsevlm_recycles_three_tenths_of_what_it_drops() -> None:
    assert [clusters_of(n) for n in (0, 1, 9, 100)] == [(0, 0), (1, 1), (3, 1), (31, 4)]


def test_selections_of_sparsevlm_must_not_descend() -> None:
    create("sparsevlm", first_layer=3, second_layer=3, third_layer=5)
    with pytest.raises(UsageError, match="must not descend, not 5, 3"):
        create("sparsevlm", first_layer=5, third_layer=3)
