"""Muon in batches is the stock Muon, but for the rounding of bfloat16."""

from __future__ import annotations

import pytest
import torch

from training.muon import BatchedMuon

SHAPES = [(24, 24), (48, 16), (24, 24), (16, 48)]


def trained(kind: type[torch.optim.Muon], steps: int) -> list[torch.Tensor]:
    """Matrices after some steps on gradients of their own; the last one has none at first."""
    drawn = torch.Generator().manual_seed(3)
    matrices = [torch.randn(shape, generator=drawn).requires_grad_() for shape in SHAPES]
    optimizer = kind(matrices, lr=0.1, weight_decay=0.2)
    for step in range(steps):
        for i, matrix in enumerate(matrices):
            gradient = torch.randn(matrix.shape, generator=drawn)
            matrix.grad = None if i == 3 and step == 0 else gradient
        optimizer.step()
    return [matrix.detach() for matrix in matrices]


@pytest.mark.parametrize("steps", [1, 4])
def test_it_steps_as_the_stock_one_does(steps: int) -> None:
    start = trained(BatchedMuon, 0)
    for ours, theirs, begun in zip(
        trained(BatchedMuon, steps), trained(torch.optim.Muon, steps), start, strict=True
    ):
        assert (ours - theirs).norm() <= 0.02 * (theirs - begun).norm()


def test_its_state_is_the_stock_ones() -> None:
    matrix = torch.eye(4).requires_grad_()
    matrix.grad = torch.ones(4, 4)
    stock = torch.optim.Muon([matrix], lr=0.1)
    stock.step()
    ours = BatchedMuon([matrix], lr=0.1)
    ours.load_state_dict(stock.state_dict())
    assert torch.equal(ours.state[matrix]["momentum_buffer"], torch.full((4, 4), 0.05))
