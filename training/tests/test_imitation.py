"""A model of larger frames learns to be as the bundled one is."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import torch

from training.batches import Batch, Shape
from training.imitation import IMITATING, IMITATIONS, REPEATING, RESEMBLING, Imitated
from training.objective import LayerOutputs, embed, run_layers

from .parts import batch_of, parts

LAYERS = ("changed", "named", "known", "earlier", "late")


@cache
def imitated() -> Imitated:
    codec, _, model = parts()
    return Imitated(model.state_dict(), codec, torch.device("cpu"))


def finer(tokens: torch.Tensor) -> torch.Tensor:
    """[B, 16, D] -> [B, 64, D]: each token four times, where it lies."""
    return torch.stack([tokens[:, r // 2 * 4 + c // 2] for r in range(8) for c in range(8)], 1)


def small_pixels(batch: Batch) -> torch.Tensor:
    return torch.nn.functional.avg_pool2d(batch.pixels.flatten(0, 1), 2).unflatten(
        0, batch.pixels.shape[:2]
    )


def test_each_token_stands_for_those_that_lie_where_it_lies() -> None:
    codec, _, model = parts()
    batch = batch_of(1, Shape(videos=2, frames=1, text=0, vision_only=True, side=128))
    with torch.no_grad():
        theirs = model.model.get_video_features(small_pixels(batch)).pooler_output[:, :-1]
    opening = torch.zeros(2, len(codec.prefix), 256)
    inputs = torch.cat([opening, finer(theirs), torch.zeros(2, 1, 256)], 1)
    ((name, off, share),) = imitated().losses(inputs, inputs.shape[1], batch)
    assert name == IMITATING
    assert float(off) == pytest.approx(0, abs=1e-5)
    assert share == pytest.approx(1, abs=1e-5)
    inputs = torch.zeros_like(inputs, requires_grad=True)
    ((_, off, share),) = imitated().losses(inputs, inputs.shape[1], batch)
    assert float(off.detach()) == pytest.approx(1, abs=0.05)
    assert share < 0.05
    off.backward()
    assert inputs.grad is not None
    assert bool(inputs.grad.any())
    # What is imitated doesn't learn.
    assert not any(weight.grad is not None for weight in model.parameters())


@pytest.mark.parametrize("grid", [0, 5])
def test_inside_it_is_as_on_the_same_clip_of_smaller_frames(grid: int) -> None:
    codec, _, model = parts()
    wide = Shape(videos=2, frames=3, text=60, side=128, grid=grid)
    batch, small = batch_of(4, wide), batch_of(4, replace(wide, side=64))
    assert torch.equal(batch.text, small.text)
    # The positions of the smaller frames are those of a batch that was made with them.
    small = replace(small, pixels=small_pixels(batch))
    assert torch.equal(imitated()._same_clips(batch).positions, small.positions)
    with torch.no_grad():
        inputs, before = embed(model, small, codec)
        layers = run_layers(model, small, inputs, before)
    begin = len(codec.prefix)

    def wider(given: torch.Tensor) -> torch.Tensor:
        visual = given[:, begin : before - 1].unflatten(1, (3, 16)).flatten(0, 1)
        visual = finer(visual).unflatten(0, (2, 3)).flatten(1, 2)
        return torch.cat([given[:, :begin], visual, given[:, before - 1 :]], 1)

    same = LayerOutputs(layers.logits, *(wider(getattr(layers, name)) for name in LAYERS))
    prefix = begin + 3 * 64 + 1
    found = [*imitated().losses(wider(inputs), prefix, batch, same, visual=0.5)]
    assert [name for name, _, _ in found] == [*IMITATIONS]
    for _, off, share in found:
        assert float(off) == pytest.approx(0, abs=1e-4)
        assert share == pytest.approx(1, abs=1e-4)
    # A layer that is off by its own spread at visual tokens alone is told of there, and weighed.
    late = wider(layers.late).clone()
    late[:, begin : prefix - 1] += late[:, begin : prefix - 1].std()
    _, (name, off, share), (_, text, _) = imitated().losses(
        wider(inputs), prefix, batch, replace(same, late=late), visual=0.5
    )
    assert name == RESEMBLING
    assert float(off) == pytest.approx(0.5 * 0.2, rel=0.02)
    assert share == pytest.approx(0.8, abs=0.01)
    assert float(text) == pytest.approx(0, abs=1e-4)
    late[:, prefix:] += 10 * late[:, prefix:].std()
    *_, (name, text, share) = imitated().losses(
        wider(inputs), prefix, batch, replace(same, late=late), visual=0.5
    )
    assert name == REPEATING
    assert float(text) > 1
    assert share == 0
