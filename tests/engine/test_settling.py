"""Settling a method for a model: the same parameters however a model is known."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import pytest
import torch
from transformers import AutoConfig

from dycoke_cli.compression.method import BASELINE, FrameMerging, Method
from dycoke_cli.compression.methods import Downsample, DyCoke, FastV, HoliTom, MaxMin
from dycoke_cli.engine.settling import settled
from dycoke_cli.engine.state import DecodeStats
from dycoke_cli.errors import UsageError
from dycoke_cli.models import catalog as reference
from dycoke_cli.models import resolve
from dycoke_cli.models.catalog import published
from dycoke_cli.models.families import UNLISTED, ModelInfo
from dycoke_cli.param import Param
from tests.families.sessions import bundled

# By the pages: layer 3 everywhere; positions are renumbered where they count tokens.
BY_HAND = {
    "llava-onevision-7b": ("llava_onevision", 28, {"prune_layer": 3, "positions": "renumbered"}),
    "qwen2.5-vl-3b": ("qwen2_5_vl", 36, {"prune_layer": 3, "positions": "kept"}),
}


def stored(name: str) -> ModelInfo:
    return ModelInfo.of(published(name).config, name)


@pytest.mark.parametrize("name", BY_HAND)
def test_a_methods_parameters_are_the_models_where_they_were_not_given(name: str) -> None:
    family, layers, defaults = BY_HAND[name]
    info = stored(name)
    assert (info.model_type, info.layers, dict(info.defaults)) == (family, layers, defaults)
    given = DyCoke().parameters()
    assert (given["prune_layer"], given["positions"]) == (None, None)
    method = settled(DyCoke(), info)
    assert method.parameters() == given | defaults
    assert method.pruning().layer == 3  # type: ignore[union-attr]
    assert method.renumbers() == (defaults["positions"] == "renumbered")
    assert settled(DyCoke(prune_layer=9), info).parameters() == given | defaults | {
        "prune_layer": 9
    }
    assert settled(FastV(), info).parameters() == {"prune_ratio": 0.5, "prune_layer": 2}


@pytest.mark.parametrize("name", BY_HAND)
def test_a_file_and_a_stock_configuration_say_the_same(name: str) -> None:
    config = AutoConfig.for_model(**copy.deepcopy(published(name).config))
    assert ModelInfo.of(config) == stored(name)
    assert ModelInfo.of({"model_type": "llava", "torch_dtype": "float16"}).dtype == "float16"


def test_a_loaded_model_has_those_of_its_file_and_binds_the_same() -> None:
    loaded = bundled()
    found = reference.find("mini")
    known = ModelInfo.of({**loaded.model.config.to_dict()}, "mini")
    assert (
        loaded.info
        == known
        == resolve.resolve_model("mini").info
        == resolve.resolve_model(found).info
    )
    expected = DyCoke().parameters() | {"prune_layer": 9, "positions": "kept"}
    assert settled(DyCoke(), known).parameters() == expected
    assert settled(DyCoke(), ModelInfo.of(loaded.model.config)) == settled(DyCoke(), known)
    with DyCoke()(loaded.model) as attachment:
        torch.manual_seed(0)
        assert attachment._method.parameters() == expected
        attachment._stats = [DecodeStats()]  # else it warns that nothing ran


def test_what_is_settled_stays_as_it_is() -> None:
    method = settled(DyCoke(), stored("qwen2.5-vl-3b"))
    assert settled(method, stored("llava-onevision-7b")) is method
    assert settled(BASELINE, stored("qwen2.5-vl-3b")) is BASELINE
    assert settled(Method(), stored("qwen2.5-vl-3b")) == BASELINE


def _never(*_: Any) -> Any:
    raise AssertionError


@dataclass(frozen=True)
class Merging(Method):
    """Merges frames behind a layer of the vision tower."""

    name: ClassVar[str] = "merging"
    behind: Annotated[int, Param("Layer.")] = 30

    def merge_frames(self) -> FrameMerging:
        def layers(count: int) -> list[int]:
            if self.behind >= count:
                raise UsageError(f"behind must be below {count}, not {self.behind}")
            return [self.behind]

        return FrameMerging((), 8, layers, _never, _never)


REFUSED: list[tuple[Method, str, str]] = [
    (
        DyCoke(prune_layer=28),
        "llava-onevision-7b",
        "prune_layer must be from 1 to 27 for llava-onevision-7b, which has 28 layers, not 28",
    ),
    (
        HoliTom(),
        "qwen2.5-vl-3b",
        "the method holitom needs the vision encoder's attention to each visual token, which the "
        "family 'qwen2_5_vl' doesn't give; --method dycoke works",
    ),
    (
        Downsample(),
        "qwen2.5-vl-3b",
        f"the method {Downsample.name} scales pictures, and the processor of the family "
        "'qwen2_5_vl' cuts them into patches; --method uniform-spatial works",
    ),
]


@pytest.mark.parametrize(("method", "name", "sentence"), REFUSED)
def test_what_a_model_cannot_serve_is_refused(method: Method, name: str, sentence: str) -> None:
    with pytest.raises(UsageError) as error:
        settled(method, stored(name))
    assert str(error.value) == sentence
    # Of a model whose layout isn't known yet, only its parameters are settled.
    unlisted = ModelInfo("new", UNLISTED, {}, None)
    assert settled(method, unlisted).parameters() == method.parameters()


def test_early_merging_needs_a_tower_that_can_encode_part_of_a_frame() -> None:
    with pytest.raises(UsageError, match=r"^--merge-stage vision isn't supported for the family"):
        settled(MaxMin(merge_stage="vision"), _without_tower())


def test_frames_are_merged_where_the_tower_is_known() -> None:
    config = AutoConfig.for_model(**copy.deepcopy(published("llava-onevision-7b").config))
    assert settled(Merging(behind=25), ModelInfo.of(config)).in_tower is not None
    with pytest.raises(UsageError, match="the method merging needs the vision encoder's attention"):
        settled(Merging(behind=0), _without_tower())


def _without_tower() -> ModelInfo:
    from dycoke_cli.models.families import FAMILIES

    name = next(n for n, family in FAMILIES.items() if not family.encodes_parts)
    return ModelInfo(name, FAMILIES[name], {}, 8)


def test_a_method_that_is_not_settled_says_so() -> None:
    for ask in (DyCoke().renumbers, DyCoke().pruning, MaxMin().renumbers):
        with pytest.raises(TypeError, match="the method isn't settled for a model"):
            ask()
