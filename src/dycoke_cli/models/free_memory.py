"""How much memory a device has left."""

from __future__ import annotations

import torch

from dycoke_cli.resources import free_main_memory


def free_memory(device: torch.device) -> int | None:
    """Bytes that are free, or None where nobody says.

    On a CPU what the system can give without swapping, or what the limit of a container leaves.
    """
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory()
    return free_main_memory()


def in_words(needed: int, free: int) -> str:
    """As a person reads it: "needs about 19 GB, 24 GB free"."""
    return f"needs about {_gigabytes(needed)}, {_gigabytes(free)} free"


def _gigabytes(value: int) -> str:
    digits = value / 1e9
    return f"{digits:.0f} GB" if digits >= 10 else f"{digits:.1f} GB"
