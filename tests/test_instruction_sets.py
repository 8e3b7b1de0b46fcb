"""Instruction sets: those that Linux lists, without those that oneDNN may not use."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType

import pytest
import torch

from dycoke_cli import instruction_sets
from dycoke_cli.instruction_sets import emulates_bfloat16, instructions

SAPPHIRE_RAPIDS = (
    "flags\t\t: fpu sse2 avx2 avx512f avx_vnni avx512_vnni avx512_bf16 amx_bf16 amx_int8"
)
HASWELL = "flags\t\t: fpu sse2 fma avx2"
GRAVITON_2 = "Features\t: fp asimd evtstrm aes"
GRAVITON_3 = "Features\t: fp asimd evtstrm sve bf16 i8mm"


@pytest.fixture
def cpuinfo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that Linux lists them in; it doesn't exist yet."""
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    monkeypatch.setattr(instruction_sets, "_CPUINFO", tmp_path / "cpuinfo")
    return tmp_path / "cpuinfo"


@pytest.mark.parametrize(
    ("line", "limit", "emulated"),
    [
        (SAPPHIRE_RAPIDS, "", False),
        (SAPPHIRE_RAPIDS, "AVX2", True),
        (SAPPHIRE_RAPIDS, "avx512_core_vnni", True),
        (SAPPHIRE_RAPIDS, "AVX512_CORE_BF16", False),
        (SAPPHIRE_RAPIDS, "misspelt", False),  # which oneDNN ignores, too
        (HASWELL, "", True),
        (GRAVITON_2, "", True),
        (GRAVITON_3, "", False),
        ("Features\t: none that is known", "", False),
    ],
)
def test_who_emulates_bfloat16(
    line: str, limit: str, emulated: bool, cpuinfo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpuinfo.write_text(f"processor\t: 0\nmodel name\t: X\n{line}\nbugs\t\t:\n{line}\n")
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    assert emulates_bfloat16(instructions()) is emulated


def test_a_limit_leaves_what_is_below_it(cpuinfo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cpuinfo.write_text(SAPPHIRE_RAPIDS)
    everything = ["avx2", "avx512_f", "avx_vnni", "avx512_vnni", "avx512_bf16"]
    assert instructions() == [*everything, "amx_bf16", "amx_int8"]
    for limit, left in (("AVX2", 1), ("AVX512_CORE", 4), ("AVX512_CORE_BF16", 5)):
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
        assert instructions() == everything[:left]


def test_torch_lists_them_where_the_system_does_not(
    cpuinfo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = MappingProxyType({"avx2": True, "avx512_bf16": False, "architecture": "x86_64"})
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: told, raising=False)
    assert instructions() == ["avx2"]
    monkeypatch.delattr(torch.cpu, "get_capabilities")  # an older torch
    assert instructions() == []
    assert not emulates_bfloat16([])


def test_linux_and_torch_list_the_same(monkeypatch: pytest.MonkeyPatch, cpuinfo: Path) -> None:
    if not Path("/proc/cpuinfo").exists() or not hasattr(torch.cpu, "get_capabilities"):
        pytest.skip("one of them doesn't list any")
    told = instructions()  # `cpuinfo` doesn't exist
    monkeypatch.setattr(instruction_sets, "_CPUINFO", Path("/proc/cpuinfo"))
    arm = {"asimd", "arm_bf16"}  # torch has other names for them
    assert [name for name in instructions() if name not in arm] == told
