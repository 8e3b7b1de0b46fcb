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


def kv_bytes(cache: Any) -> tuple[int, int]:
    """Bytes of a cache: (in all, spare entries included; read by the last step)."""
    if isinstance(cache, KVStore):
        return cache.nbytes, cache.active_nbytes
    # All tensors that its layers have: kinds of layers name their states differently, and linear
    # attention has them in dictionaries.
    states = [state for layer in cache.layers for state in vars(layer).values()]
    parts = [part for one in states for part in (one.values() if isinstance(one, dict) else (one,))]
    nbytes = sum(part.nbytes for part in parts if torch.is_tensor(part))
    return nbytes, nbytes


def read_per_token(model: Any, kv_active: int) -> int | None:
    """Bytes that one decoding step reads for one sequence; None where that isn't known.

    A generated token takes one pass over the weights, so that bandwidth bounds the speed: times
    tokens per second, a figure above the device's own says that something else was measured.

    Args:
        kv_active: bytes of the keys and values that the step attends to.
    """
    weights = weights_read(model)
    return None if weights is None else weights + kv_active


def weights_read(model: Any) -> int | None:
    """Bytes of the text decoder and of the output layer.

    Of an embedding table a step reads one embedding, which isn't counted. A table that is also the
    output layer is counted once. None for a mixture of experts, of which a step reads only those
    that the token is routed to.
    """
    decoder, output = model.get_decoder(), model.get_output_embeddings()
    if output is None or any("experts" in name for name, _ in decoder.named_modules()):
        return None
    tables = [part for part in decoder.modules() if isinstance(part, torch.nn.Embedding)]
    looked_up = {id(tensor) for table in tables for tensor in table.parameters()}
    computed = [tensor for tensor in _tensors(decoder) if id(tensor) not in looked_up]
    whole = sum(map(tensor_bytes, (*computed, *_tensors(output))))
    return whole + packed_bytes(decoder) + packed_bytes(output)


def _tensors(module: torch.nn.Module) -> Iterator[torch.Tensor]:
    yield from module.parameters()
    yield from module.buffers()
