"""The device that an estimate is for, which need not be on this machine. Needs no torch."""

from __future__ import annotations

import platform
import re
import sys
from dataclasses import dataclass

from dycoke_cli.errors import UsageError
from dycoke_cli.models.memory import Machine

_DEVICE = re.compile(r"(cpu|mps|cuda)(?::(\d+))?")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]i?)b", re.IGNORECASE)
_POWERS = {"k": 1, "m": 2, "g": 3, "t": 4}


def parse_memory(text: str) -> int:
    """Bytes of a size such as `8GB` or `24 GiB`.

    Raises:
        UsageError: the text isn't such a size.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None or not float(match[1]):
        raise UsageError(f"--memory must be a size such as 8GB or 24GiB, not {text!r}")
    number, unit = match.groups()
    return int(float(number) * (1024 if len(unit) > 1 else 1000) ** _POWERS[unit[0].lower()])


@dataclass(frozen=True)
class Target:
    """A device to estimate for.

    Args:
        device: "cuda", "mps" or "cpu".
        free: its memory in bytes; None where it isn't known.
        other: main memory that is free, where the device was chosen automatically and isn't that.
    """

    device: str
    free: int | None
    other: int | None = None

    @classmethod
    def of(cls, device: str, memory: int | None, machine: Machine) -> Target:
        """The device that `--device` and `--memory` name.

        Args:
            device: "auto" is the one that would be taken on this machine.
            memory: bytes of it; None takes what is free on this machine.
            machine: memory that is free.

        Raises:
            UsageError: there is no such kind of device.
        """
        if device == "auto":
            if machine.gpu_bytes:
                free = max(machine.gpu_bytes) if memory is None else memory
                return cls("cuda", free, machine.ram_bytes if memory is None else None)
            apple = sys.platform == "darwin" and platform.machine() == "arm64"
            return cls.of("mps" if apple else "cpu", memory, machine)
        named = _DEVICE.fullmatch(device)
        if named is None:
            raise UsageError(f"--device must be auto, cpu, cuda, cuda:N or mps, not {device!r}")
        kind, number = named.groups()
        if memory is None:
            gpus = machine.gpu_bytes[int(number) :][:1] if number else machine.gpu_bytes
            main = machine.ram_bytes if kind == "cpu" or sys.platform == "darwin" else None
            memory = max(gpus, default=None) if kind == "cuda" else main
        return cls(kind, memory)

    def fits(self, needed: int) -> str | None:
        """Where so many bytes fit: "gpu", "ram" or "no"; None if that isn't known."""
        if self.free is None:
            return None
        if needed <= self.free:
            return "ram" if self.device == "cpu" else "gpu"
        return "ram" if self.other is not None and needed <= self.other else "no"
