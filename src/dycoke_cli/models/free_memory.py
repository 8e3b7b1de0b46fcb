"""How much memory a device has left."""

from __future__ import annotations

import torch

from dycoke_cli.resources import free_main_memory


def free_memory(device: torch.device) -> int | None:
    """Bytes that are free, or None where the system doesn't say.

    On a CPU what the system can give without swapping, or what the limit of a container leaves.
    """
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory()
    return free_main_memory()


def free_memory_of_all() -> int | None:
    """Bytes that are free on all CUDA devices and in main memory, which a spread model shares."""
    main = free_main_memory()
    gpus = range(torch.cuda.device_count())
    return None if main is None else main + sum(torch.cuda.mem_get_info(gpu)[0] for gpu in gpus)
