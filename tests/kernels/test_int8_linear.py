"""The layer in 8 bits against sums written out in float64, and against torch's whole layer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from dycoke_cli.kernels import linear as kernels
from dycoke_cli.kernels.linear import INT8_TOKENS, Int8Linear

INPUTS, OUTPUTS = 96, 48
OP = "linear_dynamic"


def layer(bias: bool = True, dtype: torch.dtype = torch.float32) -> nn.Linear:
    torch.manual_seed(0)
    made = nn.Linear(INPUTS, OUTPUTS, bias=bias)
    with torch.no_grad():
        made.weight.mul_(torch.logspace(-2, 1, OUTPUTS)[:, None])  # each output has its own size
    return made.to(dtype)


def by_hand(linear: nn.Linear, x: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Outputs with weights rounded output by output, and how far rounding a row may move them."""
    weight = linear.weight.detach().double().numpy()
    rows = x.detach().double().numpy().reshape(-1, INPUTS)
    bias = 0.0 if linear.bias is None else linear.bias.detach().double().numpy()
    rounded = np.empty_like(weight)
    for i, numbers in enumerate(weight):
        step = np.abs(numbers).max() / 127
        rounded[i] = np.round(numbers / step) * step
    # 255 steps from the smallest number to the largest of a row, at most twice its absolute one.
    steps = 2 * np.abs(rows).max(1, keepdims=True) / 255
    return rows @ rounded.T + bias, steps * np.abs(rounded).sum(1)


@torch.no_grad()
def check(linear: nn.Linear, x: torch.Tensor, slack: float = 1e-4) -> None:
    found = Int8Linear(linear)(x)
    assert found.dtype == x.dtype
    assert found.shape == (*x.shape[:-1], OUTPUTS)
    expected, most = by_hand(linear, x)
    far = np.abs(found.double().numpy().reshape(expected.shape) - expected)
    assert (far <= most / 2 * 1.05 + slack * (1 + np.abs(expected))).all()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [1, 2, 17, INT8_TOKENS, INT8_TOKENS + 5])
def test_it_is_the_sum_of_what_is_rounded(rows: int, bias: bool) -> None:
    check(layer(bias), torch.randn(rows, INPUTS))


@pytest.mark.parametrize("rows", [1, 5])
def test_bfloat16(rows: int) -> None:
    check(layer(dtype=torch.bfloat16), torch.randn(rows, INPUTS).bfloat16(), slack=2**-7)


@pytest.mark.parametrize("shape", [(2, 7, INPUTS), (1, 1, INPUTS), (INPUTS,), (0, INPUTS)])
def test_shapes(shape: tuple[int, ...]) -> None:
    check(layer(), torch.randn(shape))


def test_numbers_that_do_not_lie_in_a_row() -> None:
    x = torch.randn(INPUTS, 3, 4).permute(1, 2, 0)
    assert not x.is_contiguous()
    check(layer(), x)
    check(layer(), torch.randn(6, 2 * INPUTS)[::2, ::2])


@torch.no_grad()
def test_a_massive_token_leaves_the_others_alone() -> None:
    linear, x = layer(), torch.randn(20, INPUTS)
    x[7] *= 1000
    check(linear, x)
    error = (Int8Linear(linear)(x) - linear(x)).norm(dim=1) / linear(x).norm(dim=1)
    assert error.max() < 0.02


@torch.no_grad()
@pytest.mark.parametrize("rows", [1, 4])
def test_a_token_of_zeros_gives_the_bias(rows: int) -> None:
    linear, x = layer(), torch.randn(rows, INPUTS)
    x[0] = 0
    assert torch.equal(Int8Linear(linear)(x)[0], linear.bias)


@torch.no_grad()
def test_an_output_of_zeros_is_the_bias() -> None:
    linear = layer()
    linear.weight[3] = 0
    found = Int8Linear(linear)(torch.randn(4, INPUTS))
    assert torch.equal(found[:, 3], linear.bias[3].expand(4))


def test_what_others_ask_of_a_layer() -> None:
    linear = layer(dtype=torch.bfloat16)
    made = Int8Linear(linear).to("cpu")
    assert (made.weight.dtype, made.weight.device.type) == (torch.bfloat16, "cpu")
    assert made.weight.shape == linear.weight.shape
    assert made.weight.untyped_storage().nbytes() == 2
    assert made.weight.isnan().all()  # whoever computes with it sees that
    assert [name for name, _ in made.named_parameters()] == ["bias"]
    assert repr(made) == "Int8Linear(in_features=96, out_features=48, bias=True)"
    assert made.packed_bytes == OUTPUTS * (INPUTS + 12)


@torch.no_grad()
@pytest.mark.parametrize("sign", [1, -1], ids=["positive", "negative"])
def test_the_largest_weight_sets_the_scale_whatever_its_sign(sign: int) -> None:
    # One weight of each output is a hundred times the others: a scale that overlooked it would cut
    # it off at theirs.
    linear = layer()
    linear.weight.copy_(torch.rand(OUTPUTS, INPUTS))
    linear.weight[:, 5] = sign * 100.0
    check(linear, torch.randn(7, INPUTS))
    x = torch.zeros(1, INPUTS)
    x[0, 5] = 1.0
    found = Int8Linear(linear)(x)[0] - linear.bias
    torch.testing.assert_close(found, torch.full((OUTPUTS,), sign * 100.0), atol=0.5, rtol=0)


@pytest.fixture
def fresh() -> Iterator[None]:
    """What is known of this processor is asked anew, and forgotten again."""
    kernels.saturates.cache_clear()
    yield
    kernels.saturates.cache_clear()


def in_integers(x: torch.Tensor, weight: Any, reduce_range: bool, sixteen_bits: bool) -> Any:
    """The product as a processor makes it: pairs of products are added up in 16 or in 32 bits."""
    whole = torch.ops.quantized.linear_unpack(weight)[0]
    levels = 127 if reduce_range else 255
    low, high = min(0.0, float(x.min())), max(0.0, float(x.max()))
    step = (high - low) / levels
    zero = round(-low / step)
    rounded = np.clip(np.round(x.numpy() / step) + zero, 0, levels).astype(np.int64)
    numbers = whole.int_repr().numpy().astype(np.int64)
    pairs = (rounded[:, None] * numbers[None]).reshape(len(x), len(numbers), -1, 2).sum(-1)
    if sixteen_bits:
        pairs = np.clip(pairs, -(2**15), 2**15 - 1)
    sums = pairs.sum(-1) - zero * numbers.sum(-1)
    scales = whole.q_per_channel_scales().numpy()
    return torch.from_numpy((sums * step * scales).astype(np.float32))


@pytest.mark.parametrize("sixteen_bits", [True, False])
@torch.no_grad()
def test_a_processor_that_overflows_gets_seven_bits(
    sixteen_bits: bool, fresh: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    def product(x: torch.Tensor, weight: Any, reduce_range: bool) -> torch.Tensor:
        asked.append(reduce_range)
        return in_integers(x, weight, reduce_range, sixteen_bits)

    linear = layer()
    linear.weight.abs_()
    x = torch.rand(3, INPUTS)
    made = Int8Linear(linear)
    monkeypatch.setattr(torch.ops.quantized, OP, product)
    found = made(x)
    assert kernels.saturates() is sixteen_bits
    assert asked == [False, sixteen_bits]  # the test of the processor, then the layer
    error = (found - linear(x)).norm(dim=1) / linear(x).norm(dim=1)
    assert error.max() < 0.02
