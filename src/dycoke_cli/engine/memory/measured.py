"""Memory that an answer took: its peak, its KV cache, and what a decoding step reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from dycoke_cli.engine.kv_cache import KVStore
from dycoke_cli.kernels.quantize import tensor_bytes
from dycoke_cli.kernels.replacing import packed_bytes


class PeakMemory:
    """Peak memory by the allocator of the GPUs, from its making on; on CUDA alone.

    Nothing measures it on a CPU: resident memory is that of the process. It doesn't rise where
    memory that was freed before is used again, and it rises where weights that are mapped from
    their file are read for the first time.

    Args:
        devices: where the work runs: several of a model that is spread over GPUs.
        weights_bytes: of the model on these devices, which aren't working memory.
    """

    def __init__(self, devices: Sequence[torch.device], weights_bytes: int) -> None:
        self._gpus = [device for device in devices if device.type == "cuda"]
        self._weights = weights_bytes
        for gpu in self._gpus:
            torch.cuda.reset_peak_memory_stats(gpu)

    def read(self) -> tuple[int | None, int | None]:
        """Bytes (working, total) at the peak so far, each GPU at its own; None on other devices.

        Working is everything but the weights, what was allocated before included.
        """
        if not self._gpus:
            return None, None
        total = sum(torch.cuda.max_memory_allocated(gpu) for gpu in self._gpus)
        return total - self._weights, total


def kv_bytes(cache: Any) -> tuple[int, int, int]:
    """Bytes (held, those of them on the host, read by the last step) of a cache."""
    if isinstance(cache, KVStore):
        return cache.nbytes, cache.host_nbytes, cache.active_nbytes
    tensors = [value for layer in cache.layers for value in vars(layer).values()]
    held = sum(tensor.nbytes for tensor in tensors if torch.is_tensor(tensor))
    return held, 0, held


def read_per_token(model: Any, kv_active: int) -> int | None:
    """Bytes that one decoding step reads for one sequence; None where that isn't known.

    A generated token takes one pass over the weights, so that bandwidth bounds the speed: times
    tokens per second, a figure above the device's own says that something else was measured.

    Args:
        model: a stock model.
        kv_active: bytes of the keys and values that the step attends to.
    """
    weights = weights_read(model)
    return None if weights is None else weights + kv_active


def weights_read(model: Any) -> int | None:
    """Bytes of the text decoder and of the output layer.

    Of an embedding table a step reads one embedding, which isn't counted; a table that is also the
    output layer is, once. None for a mixture of experts, of which it reads those that the token
    asks for.

    Args:
        model: a stock model.
    """
    decoder, output = model.get_decoder(), model.get_output_embeddings()
    if output is None or any("experts" in name for name, _ in decoder.named_modules()):
        return None
    tables = [part for part in decoder.modules() if isinstance(part, torch.nn.Embedding)]
    looked_up = {id(tensor) for table in tables for tensor in table.parameters()}
    computed = [tensor for tensor in _held(decoder) if id(tensor) not in looked_up]
    whole = sum(map(tensor_bytes, (*computed, *_held(output))))
    return whole + packed_bytes(decoder) + packed_bytes(output)


def _held(module: torch.nn.Module) -> Iterator[torch.Tensor]:
    yield from module.parameters()
    yield from module.buffers()
