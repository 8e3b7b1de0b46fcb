"""The layers in 8 bits against sums written out in float64, and against torch's whole layer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from dycoke_cli.kernels import linear as kernels
from dycoke_cli.kernels.linear import (
    FBGEMM_TOKENS,
    FEW_TOKENS,
    TOKENS,
    FbgemmInt8Linear,
    Int8Linear,
    PackedLinear,
    PairedInt8Linear,
    int8_kernels,
    onednn_works,
)
from dycoke_cli.kernels.processor import instructions

INPUTS, OUTPUTS = 96, 48
OP = "linear_dynamic"
Kernel = type[PackedLinear]

needs_onednn = pytest.mark.skipif(
    not onednn_works(),
    reason="this build of torch, or this processor, has no such product of oneDNN",
)
BY_ONEDNN = (pytest.param(kind, marks=needs_onednn) for kind in (Int8Linear, PairedInt8Linear))


@pytest.fixture(params=[FbgemmInt8Linear, *BY_ONEDNN])
def kernel(request: pytest.FixtureRequest) -> Kernel:
    """Each of the two, and both."""
    return request.param


def layer(bias: bool = True, dtype: torch.dtype = torch.float32) -> nn.Linear:
    torch.manual_seed(0)
    made = nn.Linear(INPUTS, OUTPUTS, bias=bias)
    with torch.no_grad():
        made.weight.mul_(torch.logspace(-2, 1, OUTPUTS)[:, None])  # each output has its own size
    return made.to(dtype)


def by_hand(linear: nn.Linear, x: torch.Tensor, levels: int = 255) -> tuple[np.ndarray, np.ndarray]:
    """Outputs with weights rounded output by output, and how far rounding a row may move them."""
    weight = linear.weight.detach().double().numpy()
    rows = x.detach().double().numpy().reshape(-1, INPUTS)
    bias = 0.0 if linear.bias is None else linear.bias.detach().double().numpy()
    rounded = np.empty_like(weight)
    for i, numbers in enumerate(weight):
        step = np.abs(numbers).max() / 127
        rounded[i] = np.round(numbers / step) * step
    # So many steps from a row's smallest number to its largest, at most twice its absolute one.
    steps = 2 * np.abs(rows).max(1, keepdims=True) / levels
    return rows @ rounded.T + bias, steps * np.abs(rounded).sum(1)


@torch.no_grad()
def check(kernel: Kernel, linear: nn.Linear, x: torch.Tensor, slack: float = 1e-4) -> None:
    found = kernel(linear)(x)
    assert found.dtype == x.dtype
    assert found.shape == (*x.shape[:-1], OUTPUTS)
    # Without VNNI, FBGEMM has 7 bits for tokens.
    in_seven = kernel is FbgemmInt8Linear and kernels.saturates()
    expected, most = by_hand(linear, x, 127 if in_seven else 255)
    far = np.abs(found.double().numpy().reshape(expected.shape) - expected)
    assert (far <= most / 2 * 1.05 + slack * (1 + np.abs(expected))).all()


def test_rounded_weights_and_their_bytes_by_hand() -> None:
    """Also on a processor that has no such product."""
    torch.manual_seed(0)
    weight = torch.randn(TOKENS + 3, 5)
    rounded, scales = kernels.round_weight(weight)
    of_each = weight.abs().amax(1) / 127
    assert torch.allclose(scales, of_each)
    in_steps = (weight / of_each[:, None]).round().to(torch.int8)
    assert torch.equal(rounded, nn.functional.pad(in_steps, (0, 8)))
    # 100 inputs and the tail take two blocks of 64; each output has a scale and a sum.
    linear = nn.Linear(100, 7)
    assert Int8Linear.nbytes_of(linear) == 7 * (128 + 4 + 4)
    assert Int8Linear.packing_nbytes_of(linear) == 700
    assert FbgemmInt8Linear.nbytes_of(linear) == 7 * (100 + 4 + 4 + 4)
    assert FbgemmInt8Linear.packing_nbytes_of(linear) == 7 * 100 * (4 + 1)
    large = nn.Linear(2, 8192 * torch.get_num_threads() + 7)
    assert FbgemmInt8Linear.packing_nbytes_of(large) == 2 * (large.out_features - 7) * (4 + 1)
    assert PairedInt8Linear.nbytes_of(linear) == 7 * (136 + 112)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [1, 2, 17, TOKENS, FBGEMM_TOKENS + 5])
def test_it_is_the_sum_of_what_is_rounded(kernel: Kernel, rows: int, bias: bool) -> None:
    check(kernel, layer(bias), torch.randn(rows, INPUTS))


@pytest.mark.parametrize("rows", [1, 5])
def test_bfloat16(kernel: Kernel, rows: int) -> None:
    check(kernel, layer(dtype=torch.bfloat16), torch.randn(rows, INPUTS).bfloat16(), slack=2**-7)


@pytest.mark.parametrize("shape", [(2, 7, INPUTS), (1, 1, INPUTS), (INPUTS,), (0, INPUTS)])
def test_shapes(kernel: Kernel, shape: tuple[int, ...]) -> None:
    check(kernel, layer(), torch.randn(shape))


@torch.no_grad()
def test_layers_of_any_width(kernel: Kernel) -> None:
    # Of a single row, and of inputs that aren't a multiple of 4: scale and minimum lie behind them.
    for inputs in range(1, 71):
        linear, x = nn.Linear(inputs, OUTPUTS), torch.randn(5, inputs)
        made, bias = kernel(linear), linear.bias.double()
        for rows in range(1, 6):
            exact = x[:rows].double() @ linear.weight.double().T + bias
            # Each of the factors is off by half a step at most, of 127 or of 255.
            largest = x[:rows].abs().amax(1, keepdim=True).double()
            weights = linear.weight.abs().double()
            most = largest * (weights.sum(1) / 127 + inputs * weights.amax(1) / 254)
            assert ((made(x[:rows]).double() - exact).abs() <= 1.1 * most + 1e-4).all()


def test_numbers_that_do_not_lie_in_a_row(kernel: Kernel) -> None:
    x = torch.randn(INPUTS, 3, 4).permute(1, 2, 0)
    assert not x.is_contiguous()
    check(kernel, layer(), x)
    check(kernel, layer(), torch.randn(6, 2 * INPUTS)[::2, ::2])


@torch.no_grad()
def test_a_massive_token_leaves_the_others_alone(kernel: Kernel) -> None:
    linear, x = layer(), torch.randn(20, INPUTS)
    x[7] *= 1000
    check(kernel, linear, x)
    error = (kernel(linear)(x) - linear(x)).norm(dim=1) / linear(x).norm(dim=1)
    assert error.max() < 0.02


@torch.no_grad()
@pytest.mark.parametrize("rows", [1, 4])
def test_a_token_of_zeros_gives_the_bias(kernel: Kernel, rows: int) -> None:
    linear, x = layer(), torch.randn(rows, INPUTS)
    x[0] = 0
    assert torch.equal(kernel(linear)(x)[0], linear.bias)


@torch.no_grad()
def test_an_output_of_zeros_is_the_bias(kernel: Kernel) -> None:
    linear = layer()
    linear.weight[3] = 0
    found = kernel(linear)(torch.randn(4, INPUTS))
    assert torch.equal(found[:, 3], linear.bias[3].expand(4))


def test_what_others_ask_of_a_layer(kernel: Kernel) -> None:
    linear = layer(dtype=torch.bfloat16)
    made = kernel(linear).to("cpu")
    assert (made.weight.dtype, made.weight.device.type) == (torch.bfloat16, "cpu")
    assert made.weight.shape == linear.weight.shape
    assert made.weight.untyped_storage().nbytes() == 2
    assert made.weight.isnan().all()  # whoever computes with it sees that
    assert [name for name, _ in made.named_parameters()] == ["bias"]
    assert repr(made) == f"{kernel.__name__}(in_features=96, out_features=48, bias=True)"
    # With their tail of 8 bytes 96 inputs are two blocks of 64; beside them a scale and a sum.
    rows = {Int8Linear: 2 * 64 + 8, FbgemmInt8Linear: INPUTS + 12}
    assert made.packed_bytes == OUTPUTS * rows.get(kernel, sum(rows.values()))


@pytest.fixture
def fresh() -> Iterator[None]:
    """What is known of this processor is asked anew, and forgotten again."""
    for known in (kernels.saturates, kernels.onednn_works):
        known.cache_clear()
    yield
    for known in (kernels.saturates, kernels.onednn_works):
        known.cache_clear()


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
    made = FbgemmInt8Linear(linear)
    monkeypatch.setattr(torch.ops.quantized, OP, product)
    found = made(x)
    assert kernels.saturates() is sixteen_bits
    assert asked == [False, sixteen_bits]  # the test of the processor, then the layer
    error = (found - linear(x)).norm(dim=1) / linear(x).norm(dim=1)
    assert error.max() < 0.02


@torch.no_grad()
@pytest.mark.parametrize("rows", [1, 9])
@pytest.mark.parametrize("sign", [1, -1], ids=["positive", "negative"])
def test_outliers_of_either_sign_in_weights_and_activations(
    kernel: Kernel, sign: int, rows: int
) -> None:
    # The largest number of each is of one sign alone: a scale, or an end of the range, taken from
    # the other one would cut it off.
    linear, x = layer(), torch.randn(rows, INPUTS)
    linear.weight[:, 11] = 40.0 * sign
    x[:, 29] = -70.0 * sign
    check(kernel, linear, x)


@needs_onednn
@torch.no_grad()
@pytest.mark.parametrize("rows", [1, FEW_TOKENS, FEW_TOKENS + 1, TOKENS + 3])
def test_with_both_kernels_each_computes_what_it_is_faster_at(rows: int) -> None:
    linear, x = layer(dtype=torch.bfloat16), torch.randn(rows, INPUTS).bfloat16()
    one, other = FbgemmInt8Linear(linear)(x), Int8Linear(linear)(x)
    assert not torch.equal(one, other)
    assert torch.equal(PairedInt8Linear(linear)(x), one if rows <= FEW_TOKENS else other)


def test_a_processor_with_integer_instructions_has_onednn() -> None:
    # Otherwise the tests above would be left out where its product is wrong.
    if not {"avx512_vnni", "avx_vnni", "amx_int8"} & {*instructions()}:
        pytest.skip("this processor has none that are known of")
    assert onednn_works()


def test_both_are_there_and_the_faster_one_comes_first() -> None:
    listed = [Int8Linear, FbgemmInt8Linear] if onednn_works() else [FbgemmInt8Linear]
    assert [*int8_kernels().values()] == listed


@pytest.mark.parametrize("error", [AttributeError, RuntimeError])
def test_without_the_operation_of_onednn_it_is_fbgemm(
    error: type[Exception], fresh: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*args: Any) -> Any:
        raise error

    monkeypatch.setattr(torch.ops.onednn, "qlinear_prepack", missing)
    assert [*int8_kernels().values()] == [FbgemmInt8Linear]


def test_a_processor_on_which_onednn_overflows_gets_fbgemm(
    fresh: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    product = torch.ops.onednn.qlinear_pointwise

    def overflowing(*args: Any) -> torch.Tensor:
        return product(*args).clamp(-32767 / 127, 32767 / 127)

    monkeypatch.setattr(torch.ops.onednn, "qlinear_pointwise", overflowing)
    assert [*int8_kernels().values()] == [FbgemmInt8Linear]
