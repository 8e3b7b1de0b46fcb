"""Instruction sets of this processor, and whether it computes bfloat16.

Read from the system; torch is imported only where the system doesn't list them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

BFLOAT16 = frozenset({"avx512_bf16", "amx_bf16", "arm_bf16"})
"""Instruction sets that compute bfloat16 faster than float32."""
# AVX512_BF16 of Intel's processors that have AVX512_FP16 as well (Sapphire Rapids and later): large
# products take 1.9 times as long as in float32. Beside AMX it isn't used; virtual machines may hide
# AMX. AMD's are faster in bfloat16; Cooper Lake, without AVX512_FP16, wasn't measured.
SLOW_BFLOAT16 = "slow_avx512_bf16"
_BESIDE_SLOW = "avx512_fp16"

_CPUINFO = Path("/proc/cpuinfo")
# Names by the flags of Linux; on x86 they are those of torch.
_NAMES = {
    "asimd": "asimd",
    "avx2": "avx2",
    "avx512f": "avx512_f",
    "avx_vnni": "avx_vnni",
    "avx512_vnni": "avx512_vnni",
    "avx512_bf16": "avx512_bf16",
    "amx_bf16": "amx_bf16",
    "amx_int8": "amx_int8",
    "bf16": "arm_bf16",
}


def instructions() -> list[str]:
    """Instruction sets of this processor that kernels use, such as "avx512_vnni".

    Empty if neither the system nor torch lists them.
    """
    try:
        told: dict[str, str] = {}
        # Only as far as the first processor: the system writes the file while it is read.
        with _CPUINFO.open(encoding="utf-8") as lines:
            for line in lines:
                name, _, value = line.partition(":")
                told[name.strip()] = value
                if name.strip() in ("flags", "Features"):
                    break
        words = {*told.get("flags", told.get("Features", "")).split()}
        processor = told.get("vendor_id", "")
    except OSError:
        import torch

        capabilities: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
        names = {**_NAMES, _BESIDE_SLOW: _BESIDE_SLOW}
        words = {flag for flag, name in names.items() if capabilities.get(name)}
        processor = capabilities.get("cpu_name", "")
    slow = "Intel" in processor and _BESIDE_SLOW in words
    found = [name for flag, name in _NAMES.items() if flag in words]
    return [SLOW_BFLOAT16 if slow and name == "avx512_bf16" else name for name in found]


def emulates_bfloat16(has: Collection[str]) -> bool:
    """Whether a processor with these instruction sets computes bfloat16 in software.

    False if its instruction sets aren't known.
    """
    return is_slow_in_bfloat16(has) and SLOW_BFLOAT16 not in has


def is_slow_in_bfloat16(has: Collection[str]) -> bool:
    """Whether a processor with these instruction sets is slower in bfloat16 than in float32.

    False if its instruction sets aren't known.
    """
    return bool(has) and BFLOAT16.isdisjoint(has)
