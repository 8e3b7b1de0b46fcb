"""Processor of this machine: its instruction sets, and the cached times of kernels on it."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from dycoke_cli.instruction_sets import instructions
from dycoke_cli.resources import processor_name
from dycoke_cli.storage.cache_folder import kept, write_whole
from dycoke_cli.storage.output_file import read_own

STOCK_KERNEL = "stock"
"""Name of the stock kernel, which is timed for every shape."""
Times = dict[str, dict[str, float]]
"""Milliseconds by shape and kernel."""


@dataclass(frozen=True)
class Processor:
    """All that times depend on, except the shape."""

    processor: str
    instructions: list[str]
    torch: str
    threads: int

    @staticmethod
    def here() -> Processor:
        """The processor, torch release and number of threads of this process."""
        return Processor(
            processor_name(), instructions(), torch.__version__, torch.get_num_threads()
        )

    @property
    def file(self) -> Path:
        """Path of its cached times; the file may not exist."""
        digest = hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()
        return kept("kernels") / f"{digest[:16]}.json"

    def read(self) -> Times:
        """Read the cached times; {} if there are none, or the file is damaged."""
        try:
            cached = json.loads(read_own(self.file))
            # The file name is a truncated hash, so the content identifies the processor.
            items = cached["times"].items() if cached["machine"] == asdict(self) else ()
            return {str(shape): _checked(times) for shape, times in items}
        # RecursionError is a RuntimeError; OverflowError is an integer too large for a float.
        except (
            OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError, OverflowError
        ):  # fmt: skip
            return {}

    def write(self, times: Times) -> None:
        """Replace the cached times atomically."""
        write_whole(self.file, json.dumps({"machine": asdict(self), "times": times}, indent=1))


def _checked(times: Any) -> dict[str, float]:
    """Validate the cached times of a shape."""
    checked = {str(kernel): float(taken) for kernel, taken in times.items()}
    if STOCK_KERNEL not in checked or not all(0 < t < math.inf for t in checked.values()):
        raise ValueError("not a table of times")
    return checked
