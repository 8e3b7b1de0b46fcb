"""This processor: its instructions, and the times of kernels that were measured on it."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from dycoke_cli.resources import processor_name
from dycoke_cli.storage.cache_folder import cache_folder, write_whole

BFLOAT16 = {"avx512_bf16", "amx_bf16"}
"""Instructions of x86 that compute it; without them it takes longer than float32."""
STOCK_KERNEL = "stock"
"""Of which each shape has a time, beside those of other kernels."""
Times = dict[str, dict[str, float]]
"""Milliseconds by shape and kernel."""


@dataclass(frozen=True)
class Processor:
    """What times depend on beside the shape."""

    processor: str
    instructions: list[str]
    torch: str
    threads: int

    @staticmethod
    def here() -> Processor:
        """This process's."""
        found = instructions()
        return Processor(processor_name(), found, torch.__version__, torch.get_num_threads())

    @property
    def file(self) -> Path:
        """Where its times are kept (it need not exist)."""
        digest = hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()
        return cache_folder() / "kernels" / f"{digest[:16]}.json"

    def read(self) -> Times:
        """The times that are kept; what can't be read counts as not measured."""
        try:
            if not self.file.is_file():  # a pipe would be waited for
                return {}
            kept = json.loads(self.file.read_text(encoding="utf-8"))
            listed = kept["times"].items() if kept["machine"] == asdict(self) else ()
            return {str(shape): _checked(times) for shape, times in listed}
        # RecursionError is a RuntimeError; an OverflowError is a number that no float holds.
        except (
            OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError, OverflowError
        ):  # fmt: skip
            return {}

    def write(self, times: Times) -> None:
        """Keep them in place of what is there, whole or not at all."""
        write_whole(self.file, json.dumps({"machine": asdict(self), "times": times}, indent=1))


def instructions() -> list[str]:
    """The instructions of this processor that matter here, such as "avx512_vnni"."""
    asked: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    names = ("avx2", "avx512_f", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")
    return [name for name in names if asked.get(name)]


def _checked(times: Any) -> dict[str, float]:
    """What was kept of a shape.

    Raises:
        ValueError: it isn't a table of times.
    """
    found = {str(kernel): float(taken) for kernel, taken in times.items()}
    if STOCK_KERNEL not in found or not all(0 < t < math.inf for t in found.values()):
        raise ValueError("not a table of times")
    return found
