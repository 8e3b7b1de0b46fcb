"""Dtype of a model's loaded weights: the rule of `--dtype auto`; needs no torch.

Most checkpoints are stored in bfloat16. A CPU without instructions for it, or with slow ones, takes
1.5 to six times as long in bfloat16 as in float32, which takes twice the memory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dycoke_cli.errors import UsageError
from dycoke_cli.instruction_sets import instructions, is_slow_in_bfloat16
from dycoke_cli.models.free_memory import HEADROOM
from dycoke_cli.models.load_options import DTYPES, LoadOptions

_HALF = ("bfloat16", "float16")
# Weights in float32 that are never too large, such as those of the bundled model.
_SMALL = 256 << 20


@dataclass(frozen=True)
class Float32Room:
    """Memory for a model in float32, on a CPU that is slow in bfloat16."""

    needed: int | None  # bytes of its weights in float32; None if unknown
    free: int | None  # free bytes of main memory; None if unknown

    @property
    def fits(self) -> bool:
        """Whether the weights and what an answer needs beside them fit."""
        if self.needed is None:
            return False
        if self.needed <= _SMALL:
            return True
        return self.free is not None and HEADROOM * self.needed <= self.free

    def warning(self, factor: float | None = None) -> str:
        """Sentence about a model that is loaded in bfloat16 all the same.

        Args:
            factor: time of a linear layer in bfloat16, as a multiple of its time in float32; None
                if it isn't measured.
        """
        times = "longer than" if factor is None else f"{factor:.2g} times as long as"
        slow = (
            "this processor has no fast bfloat16 instructions: linear layers take "
            f"{times} in float32"
        )
        if self.fits:
            return f"{slow}; use --dtype float32, or leave --dtype out"
        size = "" if self.needed is None else f" ({self.needed / 1e9:.1f} GB)"
        return f"{slow}, whose weights{size} don't fit into free memory; use --quantize int8"


def choose_dtype(wanted: str, stored: str, *, cpu: bool, room: Float32Room | None) -> str:
    """Dtype of a model's loaded weights, such as "bfloat16".

    "auto" is the stored dtype, except for a checkpoint in 16 bits on a CPU: float32 if the CPU
    is slow in bfloat16 and float32 fits, otherwise bfloat16, because CPUs convert every operand of
    float16.

    Args:
        wanted: value of `--dtype`.
        stored: dtype of the checkpoint.
        room: memory for float32, if the CPU is slow in bfloat16; otherwise None.
    """
    if wanted in DTYPES:
        return wanted
    if wanted != "auto":
        raise UsageError(f"--dtype must be auto, {', '.join(DTYPES)}, not {wanted!r}")
    if not cpu or stored not in _HALF:
        return stored
    return "float32" if room is not None and room.fits else "bfloat16"


@dataclass(frozen=True)
class StoredWeights:
    """Weights of a checkpoint."""

    dtype: str  # such as "bfloat16"
    # returns the bytes of its files, or None if unknown; it may ask the hub
    nbytes: Callable[[], int | None]
    quantized: bool = False  # whether the checkpoint is quantized


@dataclass(frozen=True)
class WeightDtype:
    """Dtype of a model's loaded weights."""

    name: str  # such as "bfloat16"
    # memory for float32, if its linear layers compute bfloat16 and the CPU is slow in it; otherwise
    # None
    float32_room: Float32Room | None = None


def weight_dtype(
    options: LoadOptions, stored: StoredWeights, *, cpu: bool, free: int | None, copies: int = 1
) -> WeightDtype:
    """Dtype that a model is loaded in on this machine.

    Args:
        free: free bytes of main memory; None if unknown.
    """
    room = None
    # bitsandbytes and stored quantized weights are computed in bfloat16 everywhere.
    chooses = options.dtype in ("auto", "bfloat16") and options.quantize != "int4"
    if cpu and chooses and not stored.quantized and is_slow_in_bfloat16(instructions()):
        size = stored.nbytes()
        times = copies * (2 if stored.dtype in _HALF else 1)
        room = Float32Room(None if size is None else times * size, free)
    name = choose_dtype(options.dtype, stored.dtype, cpu=cpu, room=room)
    return WeightDtype(name, room if name == "bfloat16" and options.quantize is None else None)
