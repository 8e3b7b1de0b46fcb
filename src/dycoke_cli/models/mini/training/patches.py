"""The patch embedding as one matrix product, for training alone."""

from __future__ import annotations

from torch import Tensor, nn


class PatchProduct(nn.Conv2d):
    """A convolution whose stride is its kernel, computed as a product of patches and weights.

    The same numbers and the same parameters as `nn.Conv2d`; but on CPUs the backward pass of that
    convolution takes as long as all the rest of the model.
    """

    @classmethod
    def of(cls, stock: nn.Conv2d) -> PatchProduct:
        """A layer with the very parameters of a stock one."""
        side = stock.kernel_size[0]
        made = cls(stock.in_channels, stock.out_channels, side, stride=side)
        made.weight, made.bias = stock.weight, stock.bias
        return made

    def forward(self, pixels: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, width, H / side, W / side]."""
        count, channels, height, width = pixels.shape
        side = self.kernel_size[0]
        rows, columns = height // side, width // side
        patches = pixels.reshape(count, channels, rows, side, columns, side)
        patches = patches.permute(0, 2, 4, 1, 3, 5).reshape(count, rows * columns, -1)
        found = nn.functional.linear(patches, self.weight.flatten(1), self.bias)
        return found.transpose(1, 2).unflatten(2, (rows, columns))
