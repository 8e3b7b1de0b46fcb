"""Merging before vision on a device that isn't the CPU: one wait for the choice, and few calls."""

from __future__ import annotations

import copy
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch

from dycoke_cli import DyCokePlus
from dycoke_cli.engine import tower as towers
from dycoke_cli.engine import vision
from dycoke_cli.engine.memory import flops
from dycoke_cli.models.families import family_of
from tests.elsewhere import Elsewhere, moved, second_device
from tests.engine.vision_tower.towers import MERGING
from tests.exactness import assert_same
from tests.families.sessions import prompt_about
from tests.families.tiny import make
from tests.natural import Pictures, pan

PACKED = ["tolist in _begin", "cpu in _choose", "tolist in _before_layer"]
# Of each pass. Frames along an axis of their own; with windows of patches; with DeepStack.
WAITS = {"llava_onevision": ["cpu in _choose"], "qwen2_5_vl": PACKED, "qwen3_vl": PACKED}
ONCE = {"llava_onevision": ["cpu in _before_layer"]}
# Compared frames keep as much each, or what changed most in all of them together.
METHODS = {"dycoke": MERGING, "dycoke-plus": DyCokePlus(merge_stage="vision")}
FRAMES = 32
# What copies a tensor to the host, or has to know its numbers there.
READS = ("cpu", "tolist", "item", "numpy", "nonzero", "__bool__", "__int__", "__float__")
PASSES = 2


@contextmanager
def waits(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The places in the files of vision towers that read a tensor of the device."""
    found: list[str] = []

    def noting(name: str, stock: Callable[..., Any]) -> Callable[..., Any]:
        def read(self: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
            caller = sys._getframe(1)
            if isinstance(self, Elsewhere) and "tower.py" in caller.f_code.co_filename:
                found.append(f"{name} in {caller.f_code.co_name}")
            return stock(self, *args, **kwargs)

        return read

    with monkeypatch.context() as patch:
        for name in READS:
            patch.setattr(torch.Tensor, name, noting(name, getattr(torch.Tensor, name)))
        yield found


@pytest.mark.parametrize(("family", "name"), [*product(WAITS, METHODS)])
@torch.inference_mode()
def test_the_device_is_waited_for_once_a_pass(family, name, monkeypatch) -> None:
    model, processor = make(family)
    known = family_of(model.config)
    prompt = prompt_about(model, processor, Pictures.of(pan(FRAMES)))
    here = prompt.inputs[known.pixels.key].numel() // prompt.frames
    before = METHODS[name].before_vision()
    # Two passes, each of half of the windows.
    size = prompt.frames // PASSES
    monkeypatch.setattr(flops, "CHUNK_NUMBERS_CPU", here * size)
    monkeypatch.setattr(flops, "FRAMES_GPU", 1)
    monkeypatch.setattr(towers, "LAYERS_BEFORE", 1)
    expected = vision.encode_video(model, known, prompt, None, before)
    calls: list[int] = []
    there = copy.deepcopy(model)
    with second_device():
        moved(there)
        with waits(monkeypatch) as found, counted(monkeypatch, calls):
            ours = vision.encode_video(there, known, prompt, None, before)
        assert_same(ours.embeddings.cpu(), expected.embeddings)
    assert torch.equal(ours.kept, expected.kept)
    # The pooling matrix is read once for a video.
    assert Counter(found) == Counter(WAITS[family] * PASSES + ONCE.get(family, []))
    # In each layer behind the choice whole frames attend in one call, and compared ones in another.
    tower: Any = known.tower or known.packed_tower
    layers = there.model.get_submodule(tower.name).get_submodule(tower.layers)
    assert len(calls) == 2 * PASSES * (len(layers) - 1)
    assert size // 2 < max(calls) < size  # a frame that keeps nothing isn't in any


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch, calls: list[int]) -> Iterator[None]:
    """Frames, or parts of them, of each call of the attention behind the choice."""
    keeping = towers._keeping_apart

    def around(stock: Any, name: str) -> Any:
        def attention(module: Any, query: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
            if getattr(towers._here, "running", None) is not None:
                calls.append(len(query))
            return stock(module, query, *args, **kwargs)

        return keeping(attention, name)

    with monkeypatch.context() as patch:
        patch.setattr(towers, "_keeping_apart", around)
        yield


@torch.inference_mode()
def test_a_tower_that_is_split_over_two_devices() -> None:
    """What is planned where patches are selected is used where the later layers are."""
    needed = np.array([[True, True, True], [False, True, False]])
    planned = towers.TowerPass.of(needed, [None, 0], torch.device("cpu"))
    (part, *_) = attending = planned.attending([0, 3])
    hidden = torch.arange(12.0).view(2, 3, 2)
    with second_device():
        there = Elsewhere(hidden)
        went_on = planned.gather(there)
        assert torch.equal(went_on.cpu(), planned.gather(hidden))
        back = planned.restore(went_on[0])
        assert torch.equal(back.cpu(), planned.restore(planned.gather(hidden)[0]))
        rows = part.batched(went_on[:, None], part.keys)
        assert rows.shape == (part.count, 1, 3, 2)
        towers._here.running = attending

        def stock(
            module: Any, query: torch.Tensor, *_: Any, **__: Any
        ) -> tuple[torch.Tensor, None]:
            return query.transpose(1, 2), None

        try:
            attend = towers._keeping_apart(stock, "")
            found, _ = attend(None, *[went_on[:, None]] * 3, None, scaling=1.0)
        finally:
            towers._here.running = None
        assert found.shape[1] == 4
