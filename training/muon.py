"""Muon in float32, all matrices of one shape at once.

The stock one takes them one by one and rounds them to bfloat16: on two cores of a CPU that doesn't
multiply in bfloat16 that was a third of a step, and is a twentieth so.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch
from torch import Tensor


class BatchedMuon(torch.optim.Muon):
    """The stock optimizer and its state, with Nesterov momentum and the rate adjusted to shapes."""

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """One step on all matrices that have a gradient."""
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Tensor]] = defaultdict(list)
            for matrix in group["params"]:
                if matrix.grad is not None:
                    by_shape[matrix.shape].append(matrix)
            for (rows, columns), matrices in by_shape.items():
                moments = torch.stack([self._moment(m, group["momentum"]) for m in matrices])
                rate = group["lr"] * max(1, rows / columns) ** 0.5
                for matrix, update in zip(matrices, _orthogonal(moments, group), strict=True):
                    matrix.mul_(1 - group["lr"] * group["weight_decay"]).sub_(rate * update)

    def _moment(self, matrix: Tensor, momentum: float) -> Tensor:
        gradient, state = matrix.grad, self.state[matrix]
        assert gradient is not None
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(gradient)
        state["momentum_buffer"].lerp_(gradient, 1 - momentum)
        return gradient.lerp(state["momentum_buffer"], momentum)


def _orthogonal(matrices: Tensor, group: dict[str, Any]) -> Tensor:
    """Newton-Schulz steps that bring all singular values of [M, R, C] near 1."""
    tall = matrices.shape[-2] > matrices.shape[-1]
    found = matrices.mT if tall else matrices
    found = found / found.norm(dim=(-2, -1), keepdim=True).clamp(min=group["eps"])
    a, b, c = group["ns_coefficients"]
    for _ in range(group["ns_steps"]):
        gram = found @ found.mT
        found = a * found + (b * gram + c * (gram @ gram)) @ found
    return found.mT if tall else found
