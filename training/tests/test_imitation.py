"""A tower for larger frames learns to give the tokens that a model for smaller ones gives."""

from __future__ import annotations

import pytest
import torch

from training.batches import Shape
from training.imitation import IMITATING, Imitated

from .parts import batch_of, parts


def test_each_token_stands_for_those_that_lie_where_it_lies() -> None:
    model = parts()[2]
    imitated = Imitated(model.state_dict(), torch.device("cpu"))
    batch = batch_of(1, Shape(videos=2, frames=1, text=0, vision_only=True, side=128))
    small = torch.nn.functional.avg_pool2d(batch.pixels[:, 0], 2)[:, None]
    with torch.no_grad():
        theirs = model.model.get_video_features(small).pooler_output[:, :-1]
    wanted = torch.stack([theirs[:, r // 2 * 4 + c // 2] for r in range(8) for c in range(8)], 1)
    name, off, share = imitated.loss(wanted.flatten(0, 1), batch)
    assert name == IMITATING
    assert float(off) == pytest.approx(0, abs=1e-5)
    assert share == pytest.approx(1, abs=1e-5)
    tokens = torch.zeros(2 * 64, 256, requires_grad=True)
    name, off, share = imitated.loss(tokens, batch)
    assert float(off.detach()) == pytest.approx(1, abs=0.05)
    assert share < 0.05
    off.backward()
    assert tokens.grad is not None
    assert bool(tokens.grad.any())
    # What is imitated doesn't learn.
    assert not any(weight.grad is not None for weight in model.parameters())
