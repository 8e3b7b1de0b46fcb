"""The packed layer against sums written out in float64, rounded once to bfloat16."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from dycoke_cli.kernels.linear import (
    BFLOAT16_TOKENS,
    GELU,
    GELU_TANH,
    NO_EPILOGUE,
    Bfloat16Linear,
    Epilogue,
    can_pack,
)

INPUTS, OUTPUTS = 100, 36
pytestmark = pytest.mark.skipif(
    not can_pack(), reason="this processor has no products in bfloat16 to pack for"
)


def layer(bias: bool = True) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(INPUTS, OUTPUTS, bias=bias).bfloat16()


def by_hand(linear: nn.Linear, x: torch.Tensor, epilogue: Epilogue) -> np.ndarray:
    found = x.double().numpy() @ linear.weight.detach().double().numpy().T
    if linear.bias is not None:
        found = found + linear.bias.detach().double().numpy()
    if epilogue == GELU:
        return found * 0.5 * (1 + np.vectorize(math.erf)(found / math.sqrt(2)))
    if epilogue == GELU_TANH:
        inner = math.sqrt(2 / math.pi) * (found + 0.044715 * found**3)
        return found * 0.5 * (1 + np.tanh(inner))
    return found


def check(linear: nn.Linear, x: torch.Tensor, epilogue: Epilogue = NO_EPILOGUE) -> None:
    with torch.inference_mode():
        found = Bfloat16Linear(linear, epilogue)(x)
    assert found.dtype == torch.bfloat16
    assert found.shape == (*x.shape[:-1], OUTPUTS)
    expected = by_hand(linear, x, epilogue)
    # Half a unit of 8 binary digits, and what sums in float32 lose where they nearly cancel.
    assert (np.abs(found.double().numpy() - expected) <= np.abs(expected) * 2**-8 + 2e-5).all()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [1, 2, 17, 729, BFLOAT16_TOKENS, BFLOAT16_TOKENS + 5])
@pytest.mark.parametrize("epilogue", [NO_EPILOGUE, GELU, GELU_TANH])
def test_it_is_the_sum(rows: int, bias: bool, epilogue: Epilogue) -> None:
    check(layer(bias), torch.randn(rows, INPUTS).bfloat16(), epilogue)


def test_the_last_row_of_a_longer_input_and_several_dimensions() -> None:
    hidden = torch.randn(2, 7, INPUTS).bfloat16()
    check(layer(), hidden)
    check(layer(), hidden[:, -1:])
    check(layer(), hidden[:1, -1:])
    check(layer(), hidden.transpose(0, 1))
    check(layer(), torch.randn(5, 2 * INPUTS).bfloat16()[:, ::2])


def test_it_shows_what_is_asked_of_a_layer_and_counts_its_bytes() -> None:
    made = Bfloat16Linear(layer())
    assert (made.in_features, made.out_features) == (INPUTS, OUTPUTS)
    assert made.weight.shape == (OUTPUTS, INPUTS)
    assert made.weight.dtype == torch.bfloat16
    assert made.packed_bytes == OUTPUTS * INPUTS * 2
    assert repr(made) == f"Bfloat16Linear(in_features={INPUTS}, out_features={OUTPUTS}, bias=True)"
