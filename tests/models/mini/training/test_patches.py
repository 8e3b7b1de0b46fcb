"""The patch embedding as a product gives the numbers of the convolution that it replaces."""

from __future__ import annotations

import torch
from torch import nn

from dycoke_cli.models.mini.training.patches import PatchProduct


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


def test_it_has_the_very_parameters_and_names_of_the_convolution() -> None:
    stock = nn.Conv2d(3, 16, 8, stride=8)
    ours = PatchProduct.of(stock)
    assert ours.weight is stock.weight
    assert ours.bias is stock.bias
    assert list(ours.state_dict()) == list(stock.state_dict())
