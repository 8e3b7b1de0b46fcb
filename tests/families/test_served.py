"""`dycoke methods` names the families that a method really runs on, and no others."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from dycoke_cli import VideoSession
from dycoke_cli.cli.commands.methods import list_methods
from dycoke_cli.compression.method import Method
from dycoke_cli.compression.registry import METHODS, create
from dycoke_cli.errors import UsageError
from dycoke_cli.models.families import FAMILIES
from tests.families.sessions import loaded_of
from tests.families.stock import clip, one_of_each_kind, stock_inputs
from tests.families.tiny import MAKERS, make

IN_TOWER, BEFORE = "inside the vision tower", "before the language model"
NEEDING = ("evs", "cdpruner", "visionzip")
# One of each kind: its name, its parameters, and where it chooses with them.
KINDS: dict[str, tuple[dict[str, Any], str]] = {
    "evs": ({}, BEFORE),
    "cdpruner": ({}, BEFORE),
    "visionzip": ({}, BEFORE),
    "dycoke": ({"ttm": False, "prune_layer": 1}, "in decode"),
    "fastv": ({"prune_layer": 1}, "inside the language model"),
}


def runs(family: str, method: Method) -> bool:
    model, processor = make(family)
    inputs = stock_inputs(family, processor, clip(5))
    try:
        with torch.no_grad(), method(model):
            model.generate(**inputs, max_new_tokens=3, do_sample=False)
    except UsageError:
        return False
    return True


def runs_in_session(family: str, method: Method) -> bool:
    session = VideoSession(loaded_of(family), clip(5))
    try:
        answer = session.ask("What is it?", method, max_tokens=2)
    except UsageError:
        return False
    assert answer.tokens.visual_kept <= answer.tokens.visual
    return True


@pytest.mark.parametrize("family", one_of_each_kind(MAKERS))
def test_a_family_is_named_where_it_runs(family: str) -> None:
    listed = {method.name: method for method in list_methods(METHODS.values()).methods}
    known = make(family)[0].config.model_type
    for name, (parameters, place) in KINDS.items():
        served = known in listed[name].families[place]
        assert served == runs(family, create(name, **parameters)), name
    in_part = create("dycoke", kv_prune=False, merge_stage="vision")
    assert (known in listed["dycoke"].families[IN_TOWER]) == runs_in_session(family, in_part)
    scaled = known in listed["downsample"].families[BEFORE]
    assert scaled == runs_in_session(family, create("downsample"))


def test_what_holds_for_one_of_a_kind_holds_for_all() -> None:
    """A method serves the families that give what it needs, as far as their layers allow it."""
    listed = {method.name: method for method in list_methods(METHODS.values()).methods}
    needing = {listed[name].needs: {*listed[name].families[BEFORE]} for name in NEEDING}
    places = {place: {*listed[name].families[place]} for name, (_, place) in KINDS.items()}
    places[IN_TOWER] = {*listed["dycoke"].families[IN_TOWER]}
    del listed["downsample"]  # the only one of its kind
    for method in listed.values():
        assert bool(method.families) == (method.name != "none")
        for place, families in method.families.items():
            allowed = {*FAMILIES} if place == BEFORE else places[place]
            assert {*families} == needing[method.needs] & allowed, (method.name, place)
