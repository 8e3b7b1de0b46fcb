"""Rate of a matrix product on this machine, by which an estimate turns FLOPs into seconds.

Timed once per processor, torch release and dtype, and kept in the cache: the next estimate for a
CPU imports no torch.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import time
from functools import cache
from importlib.metadata import version

from dycoke_cli.resources import is_overloaded, processor_name, usable_cpus
from dycoke_cli.storage.cache_folder import kept, write_whole
from dycoke_cli.storage.output_file import read_own

TIMED_S = 0.5
"""Seconds within which the last timed product begins."""


def product_rate(dtype: str, device: str) -> float | None:
    """Multiplications per second of a matrix product; None without the device on this machine.

    An addition isn't counted beside its multiplication, as in the formula of `flops.py`.

    Args:
        dtype: such as "bfloat16".
        device: "cpu", "cuda" or "mps".
    """
    processor = processor_name() if device == "cpu" else _accelerator(device)
    if processor is None:
        return None
    threads = usable_cpus(), os.environ.get("OMP_NUM_THREADS")
    about = json.dumps([processor, *threads, version("torch"), dtype])
    file = kept("estimates") / f"rate-{hashlib.sha256(about.encode()).hexdigest()[:24]}.json"
    with contextlib.suppress(OSError, ValueError, RecursionError):
        rate = json.loads(read_own(file))
        if isinstance(rate, float) and 0 < rate < math.inf:
            return rate
    rate = _timed(dtype, device)
    if rate is not None and not is_overloaded():  # else it would stay too low
        with contextlib.suppress(OSError, RuntimeError):  # the next estimate times it again
            write_whole(file, json.dumps(rate))
    return rate


def _accelerator(device: str) -> str | None:
    """Name of this machine's accelerator of a kind; None if there is none."""
    import torch

    if device == "cuda":
        return torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return f"{processor_name()} GPU" if torch.backends.mps.is_available() else None


@cache  # once per process, where it isn't kept
def _timed(dtype: str, device: str) -> float | None:
    """Time products of square matrices; None where the device is out of memory."""
    import torch

    side = 1024 if device == "cpu" else 4096  # which keep the device busy
    try:
        # Times don't depend on the values, and random ones would change what is sampled later.
        one = torch.full((side, side), 0.01, dtype=getattr(torch, dtype), device=device)
        part = one[:64, :64]
        float((part @ part)[0, 0])  # the first product also starts threads and loads libraries
        count, began = 0, time.perf_counter()
        while (taken := time.perf_counter() - began) < TIMED_S:
            float((one @ one)[0, 0])  # a GPU is waited for
            count += 1
    except RuntimeError:
        return None
    return count * side**3 / taken
