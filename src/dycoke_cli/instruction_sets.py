"""Instruction sets of this processor, and whether it computes bfloat16.

Read from the system; torch is imported only where the system doesn't list them.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

BFLOAT16 = frozenset({"avx512_bf16", "amx_bf16", "arm_bf16"})
"""Instruction sets that compute bfloat16."""

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
_AMX = {"amx_bf16", "amx_int8"}
_FROM_BF16 = {"avx512_bf16", *_AMX}
_FROM_AVX512 = {"avx_vnni", "avx512_f", "avx512_vnni", *_FROM_BF16}
# oneDNN, which computes torch's linear layers, uses nothing beyond the value of this variable.
_LIMIT = "ONEDNN_MAX_CPU_ISA"
_UNUSED = {
    **dict.fromkeys(("SSE41", "AVX", "AVX2"), _FROM_AVX512),
    **dict.fromkeys(("AVX2_VNNI", "AVX2_VNNI_2"), _FROM_AVX512 - {"avx_vnni"}),
    **dict.fromkeys(("AVX512_CORE", "AVX512_CORE_VNNI"), _FROM_BF16),
    **dict.fromkeys(("AVX512_CORE_BF16", "AVX512_CORE_FP16", "AVX10_1_512"), _AMX),
}


def instructions() -> list[str]:
    """Instruction sets of this processor that kernels use, such as "avx512_vnni".

    Without those that `ONEDNN_MAX_CPU_ISA` excludes. Empty if neither the system nor torch lists
    them.
    """
    unused = _UNUSED.get(os.environ.get(_LIMIT, "").upper(), set())
    return [name for name in _listed() if name not in unused]


def emulates_bfloat16(has: Collection[str]) -> bool:
    """Whether a processor with these instruction sets computes bfloat16 in software.

    False if its instruction sets aren't known.
    """
    return bool(has) and BFLOAT16.isdisjoint(has)


def _listed() -> list[str]:
    try:
        # Only as far as the first processor: the system writes the file while it is read.
        with _CPUINFO.open(encoding="utf-8") as lines:
            flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    except OSError:
        import torch

        capabilities: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
        return [name for name in _NAMES.values() if capabilities.get(name)]
    words = {*flags.partition(":")[2].split()}
    return [name for flag, name in _NAMES.items() if flag in words]
