"""What a decoding step reads of memory: with tokens per second, how fast memory is being read.

Writing a token takes one pass over the weights, so that bandwidth bounds the speed: a figure above
the device's own says that something else was measured.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from dycoke_cli.models.linear_layers import packed_bytes
from dycoke_cli.models.quantizing import held_bytes


def read_per_token(model: Any, kv_active: int) -> int | None:
    """Bytes that one decoding step reads for one sequence; None where that isn't known.

    Args:
        model: a stock model.
        kv_active: bytes of the keys and values that the step attends to.
    """
    weights = weights_read(model)
    return None if weights is None else weights + kv_active


def weights_read(model: Any) -> int | None:
    """Bytes of the text decoder and of the output layer.

    Of embedding tables a step reads a row, which isn't counted; one that is also the output layer
    is, once. None for a mixture of experts, of which it reads those that the token asks for.

    Args:
        model: a stock model.
    """
    decoder, output = model.get_decoder(), model.get_output_embeddings()
    if output is None or any("experts" in name for name, _ in decoder.named_modules()):
        return None
    tables = [part for part in decoder.modules() if isinstance(part, torch.nn.Embedding)]
    looked_up = {id(tensor) for table in tables for tensor in table.parameters()}
    computed = [tensor for tensor in _held(decoder) if id(tensor) not in looked_up]
    whole = sum(map(held_bytes, (*computed, *_held(output))))
    return whole + packed_bytes(decoder) + packed_bytes(output)


def _held(module: torch.nn.Module) -> Iterator[torch.Tensor]:
    yield from module.parameters()
    yield from module.buffers()
