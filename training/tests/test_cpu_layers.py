"""The layers for CPUs give the numbers of the stock ones, forward and backward."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from training.cpu_layers import BLOCK, PatchProduct, attention, has_bfloat16

LENGTH, HEADS, SIZE = BLOCK * 2 + 37, 2, 16


def mask_of(rows: int) -> torch.Tensor:
    """Causal, and some keys that only their own token sees: 0 or a very low number, to be added."""
    torch.manual_seed(1)
    seen = torch.ones(LENGTH, LENGTH, dtype=torch.bool).tril()
    seen = seen & (torch.rand(rows, 1, 1, LENGTH) > 0.3) | torch.eye(LENGTH, dtype=torch.bool)
    return torch.zeros(seen.shape).masked_fill_(~seen, torch.finfo(torch.bfloat16).min)


@pytest.mark.parametrize("masked", [True, False])
def test_values_and_gradients_are_those_of_plain_attention(masked: bool) -> None:
    torch.manual_seed(0)
    mask = mask_of(3) if masked else None
    given = [torch.randn(3, HEADS, LENGTH, SIZE, dtype=torch.float64) for _ in range(3)]
    pull = torch.randn(3, LENGTH, HEADS, SIZE, dtype=torch.float64)

    def plain(q, k, v):
        scores = q @ k.mT * 0.25 + (0 if mask is None else mask.double())
        return (scores.softmax(-1) @ v).transpose(1, 2)

    def ours(q, k, v):
        added = None if mask is None else mask.double()
        return attention(nn.Identity(), q, k, v, added, scaling=0.25)[0]

    found = []
    for attend in (plain, ours):
        leaves = [tensor.clone().requires_grad_() for tensor in given]
        out = attend(*leaves)
        (out * pull).sum().backward()
        found.append([out, *(leaf.grad for leaf in leaves)])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, atol=1e-9, rtol=1e-7)


def test_values_and_gradients_are_those_of_the_convolution() -> None:
    torch.manual_seed(0)
    stock = nn.Conv2d(3, 16, 8, stride=8)
    ours = PatchProduct.of(stock)
    pixels = torch.randn(2, 3, 32, 24)
    wanted = torch.randn(2, 16, 4, 3)
    found = []
    for layer in (stock, ours):
        inputs = pixels.clone().requires_grad_()
        stock.zero_grad()
        given = layer(inputs)
        (given * wanted).sum().backward()
        assert layer.weight.grad is not None
        assert layer.bias is not None
        found.append((given, inputs.grad, layer.weight.grad.clone(), layer.bias.grad.clone()))
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)
    # It has the very parameters of the convolution, under its names.
    assert ours.weight is stock.weight
    assert ours.bias is stock.bias
    assert list(ours.state_dict()) == list(stock.state_dict())


@pytest.mark.parametrize(
    ("device", "found", "expected"),
    [
        ("cpu", {"avx512_f": True, "avx512_bf16": False}, False),
        ("cpu", {"avx512_f": True, "avx512_bf16": True}, True),
        ("cpu", {}, False),
        ("cuda", {}, True),
    ],
)
def test_cpus_that_do_not_multiply_in_bfloat16_train_in_float32(
    device: str, found: dict[str, bool], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found)
    assert has_bfloat16(torch.device(device)) == expected
