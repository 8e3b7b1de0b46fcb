"""On another device than the CPU: the same answers, and nothing is forgotten on the wrong one."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch

from dycoke_cli import FastV, Uncompressed, VideoSession
from dycoke_cli.compression.base import Method
from dycoke_cli.engine.asking import Asked, ask_together
from dycoke_cli.engine.decoding import Decoding
from dycoke_cli.models.layouts import FAMILIES
from dycoke_cli.models.loading import LoadedModel
from tests.elsewhere import DEVICE, Elsewhere, moved, second_device

from .stock import BOTH_WAYS, clip
from .test_matrix import method_of, runs
from .test_together import QUESTIONS, loaded_of
from .tiny import MAKERS

FRAMES = (1, 5, 4)


def methods_of(family: str) -> dict[str, Method]:
    """By name; the choices change at each step, so that all that can come back does."""
    if "kv" not in runs(family):
        return {"ttm": method_of("ttm", "kept")} if runs(family) else {"none": Uncompressed()}
    restless = replace(method_of("dycoke", "kept"), recall_threshold=1.0)
    found: dict[str, Method] = {"dycoke": restless, "host": replace(restless, dp_cache="host")}
    if family not in BOTH_WAYS:
        found["fastv"] = FastV(prune_ratio=0.5, prune_layer=1)
    if family in FAMILIES and FAMILIES[family].tower is not None:
        found["vision"] = replace(restless, merge_stage="vision")
    return found


def told(loaded: LoadedModel, method: Method) -> list[tuple[Any, ...]]:
    """Three questions about three videos together, and two about one of them."""
    sessions = [VideoSession(loaded, clip(f, seed)) for seed, f in enumerate(FRAMES)]
    found = []
    if method.inside() is None:
        asked = [Asked(s, q) for s, q in zip(sessions, QUESTIONS, strict=True)]
        found += ask_together(asked, method, Decoding(max_new_tokens=6))
    traced = method.pruning() is not None
    for question in QUESTIONS[:2]:
        found.append(sessions[1].ask(question, method, max_new_tokens=6, trace=traced))
    return [(answer.answer, answer.tokens, answer.decode) for answer in found]


@pytest.mark.slow
@pytest.mark.parametrize(("family", "name"), [(f, name) for f in MAKERS for name in methods_of(f)])
def test_answers_are_those_of_the_cpu(family: str, name: str) -> None:
    loaded, method = loaded_of(family), methods_of(family)[name]
    here = told(loaded, method)
    there = replace(loaded, model=copy.deepcopy(loaded.model))
    with second_device():
        moved(there.model)
        assert told(there, method) == here
    assert all(isinstance(weight, Elsewhere) for weight in there.model.parameters())


def test_what_lies_on_two_devices_is_an_error() -> None:
    with second_device():
        there, here = torch.arange(6.0, device=DEVICE), torch.arange(6.0)
        for wrong in (
            lambda: there + here,
            lambda: here * there.sum(),
            lambda: torch.cat([here, there]),
            lambda: here[there.long()],
            lambda: there.index_select(0, torch.tensor([1])),
            lambda: there.index_put_((torch.tensor([0, 1]),), torch.ones(2)),
        ):
            with pytest.raises(RuntimeError, match="on two"):
                wrong()
        there[[1, 2]] = torch.tensor([7.0, 8.0], device=DEVICE)
        there[torch.tensor([3])] = 9.0
        assert (there * here.sum() + here.to(DEVICE)).cpu().tolist() == [0, 106, 122, 138, 64, 80]
        assert there[torch.tensor([1, 4])].tolist() == [7, 4]
        assert there.max().item() == 9
