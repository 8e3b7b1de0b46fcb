"""Layers that train faster on CPUs than the stock ones, with the same numbers but for rounding.

Plain ("eager") attention goes over each score eight times and keeps three of them; blocked
attention goes over it three times and keeps one, and computes no score that the mask would take
away anyhow: a step takes a third less time. A convolution as patch embedding takes as long in its
backward pass as all the rest of the model; here it is a matrix product.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface

ATTENTION = "dycoke_training"
# Queries at a time: they see no key behind the last of them.
BLOCK = 128


class BlockedAttention(torch.autograd.Function):
    """softmax(q k^T + mask) v, a block of queries at a time."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        """[B, H, N, D] each, q scaled already; mask [B, 1, N, N], added, causal -> [B, H, N, D]."""
        found, kept = torch.empty_like(q), []
        for begin, end, last in _blocks(q.shape[2], mask is not None):
            scores = q[:, :, begin:end] @ k[:, :, :last].mT
            if mask is not None:
                scores += mask[:, :, begin:end, :last]
            shares = torch.softmax(scores, -1)
            found[:, :, begin:end] = shares @ v[:, :, :last]
            kept.append(shares)
        ctx.causal = mask is not None
        ctx.save_for_backward(q, k, v, *kept)
        return found

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of q, k and v."""
        q, k, v, *kept = ctx.saved_tensors
        to_q, to_k, to_v = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        blocks = _blocks(q.shape[2], ctx.causal)
        for (begin, end, last), shares in zip(blocks, kept, strict=True):
            grad = grads[0][:, :, begin:end]
            to_v[:, :, :last] += shares.mT @ grad
            pull = grad @ v[:, :, :last].mT
            pull = torch.ops.aten._softmax_backward_data(pull, shares, -1, shares.dtype)
            to_q[:, :, begin:end] = pull @ k[:, :, :last]
            to_k[:, :, :last] += pull.mT @ q[:, :, begin:end]
        return to_q, to_k, to_v, None


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    **_: object,
) -> tuple[Tensor, None]:
    """What transformers calls: [B, H, N, D] -> [B, N, H, D]."""
    with torch.autocast(query.device.type, enabled=False):
        kind = value.dtype
        heads = BlockedAttention.apply(
            (query * scaling).to(kind), key.to(kind), value, attention_mask
        )
        return heads.transpose(1, 2).contiguous(), None


def _blocks(length: int, causal: bool) -> list[tuple[int, int, int]]:
    """First and last query of each block, and how many keys it sees."""
    ends = [(i, min(i + BLOCK, length)) for i in range(0, length, BLOCK)]
    return [(begin, end, end if causal else length) for begin, end in ends]


def has_bfloat16(device: torch.device) -> bool:
    """Whether a device multiplies in bfloat16: on CPUs that don't, it takes four times as long."""
    names = ("avx512_bf16", "amx_bf16", "bf16")
    capabilities = torch.cpu.get_capabilities()
    return device.type != "cpu" or any(capabilities.get(name, False) for name in names)


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


AttentionInterface.register(ATTENTION, attention)
