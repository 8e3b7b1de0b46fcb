"""Which model is loaded, and how: the defaults, and the options and what they exclude.

Needs no torch.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from dycoke_cli.errors import UsageError
from dycoke_cli.param import Options, Param, check_all

BUNDLED = "mini"
"""Model that is used where none is named."""

SPEECH_MODEL = "whisper-small"
"""Model that hears speech, unless another one is named."""

BUNDLED_FOLDER = Path(__file__).with_name(BUNDLED)
"""Its checkpoint, and the clip of `dycoke demo`; `training/` makes both."""

UNKNOWN = "I only know moving shapes."
"""What it was trained to answer about any other video."""

ENVIRONMENT = "DYCOKE_MODEL"
"""Environment variable that names the model where `--model` isn't given."""

DTYPES = ("float32", "bfloat16", "float16")
"""Dtypes that `--dtype` names."""

_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d{1,3})?")


def default_model() -> str | None:
    """Model that the environment names; None for the bundled one."""
    return os.environ.get(ENVIRONMENT) or None


@dataclass(frozen=True)
class LoadOptions(Options):
    """Options of `load.load`.

    Args:
        revision: branch, tag or commit of a hub model.

    Raises:
        UsageError: an invalid value, or two options that exclude each other.
    """

    device: Annotated[
        str,
        Param("auto (CUDA, then MPS, then CPU), cpu, cuda, cuda:1, mps, …", metavar="DEVICE"),
    ] = "auto"
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16", "float16"],
        Param(
            "Weight dtype: auto, float32, bfloat16 or float16. auto is the stored one; on a CPU "
            "16-bit weights are loaded in bfloat16, or, if the CPU has no fast instructions for it "
            "and the memory suffices, in float32."
        ),
    ] = "auto"
    revision: str | None = None
    random_weights: Annotated[
        bool,
        Param(
            "Build the model that --model names with random weights, without a download: its "
            "speed and memory are real, its answers mean nothing.",
        ),
    ] = False
    device_map: Annotated[
        Literal["auto"] | None,
        Param(
            "auto spreads the layers over all GPUs, and what doesn't fit there over main memory "
            "(needs the package accelerate).",
            default="one device holds the model",
        ),
    ] = None
    quantize: Annotated[
        Literal["int8", "int4"] | None,
        Param(
            "Quantize weights to 8 or 4 bits: int8 or int4. On a CPU int8 needs no package (it is "
            "faster than bfloat16 on AMD EPYC and on Intel Xeon without AMX; with AMX only in long "
            "answers); all else needs the package bitsandbytes.",
            default="as stored",
        ),
    ] = None
    kernels: Annotated[
        Literal["fast", "stock"],
        Param(
            "Attention and linear layers on a CPU: fast (torch's or this program's, by the "
            "instructions of the processor) or stock (torch's; each generated token goes through "
            "the model's modules, too).",
        ),
    ] = "fast"

    def with_dtype(self, dtype: Any) -> LoadOptions:
        """The options with the dtype that "auto" stands for.

        Args:
            dtype: name or `torch.dtype`; one that `--dtype` can't name, such as float64, stays
                "auto".
        """
        name: Any = str(dtype).removeprefix("torch.")
        return replace(self, dtype=name) if name in DTYPES else self

    def __post_init__(self) -> None:
        check_all(self)
        if not _DEVICE.fullmatch(self.device):
            raise UsageError(f"device must be auto, cpu, cuda, cuda:N or mps, not {self.device!r}")
        if self.device_map is not None and self.device != "auto":
            raise UsageError(
                f"device_map auto chooses the devices itself; drop device={self.device}"
            )
        if self.quantize is not None and self.device == "mps":
            raise UsageError("quantize works on CUDA and on a CPU, not on mps; drop one of them")
        if not self.random_weights:
            return
        for name in ("revision", "device_map"):
            if getattr(self, name) is not None:
                raise UsageError(
                    f"random_weights builds a published model whole, on one device; drop {name}"
                )
