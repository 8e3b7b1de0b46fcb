"""Instruction sets: those that Linux lists, or torch."""

from __future__ import annotations

import platform
from pathlib import Path
from types import MappingProxyType

import pytest
import torch

from dycoke_cli.kernels import processor
from dycoke_cli.kernels.processor import emulates_bfloat16, instructions, is_slow_in_bfloat16

INTEL, AMD = ("vendor_id\t: GenuineIntel\n", "vendor_id\t: AuthenticAMD\n")
COOPER_LAKE = INTEL + "flags\t\t: fpu sse2 avx2 avx512f avx512_vnni avx512_bf16"
AMX_HIDDEN = INTEL + "flags\t\t: fpu avx2 avx512f avx_vnni avx512_vnni avx512_fp16 avx512_bf16"
SAPPHIRE_RAPIDS = AMX_HIDDEN + " amx_bf16 amx_int8"
ZEN_4 = AMD + "flags\t\t: fpu sse2 avx2 avx512f avx512_vnni avx512_bf16"
ZEN_6 = AMD + "flags\t\t: fpu sse2 avx2 avx512f avx512_vnni avx512_fp16 avx512_bf16"
HASWELL = "flags\t\t: fpu sse2 fma avx2"
GRAVITON_2 = "Features\t: fp asimd evtstrm aes"
GRAVITON_3 = "Features\t: fp asimd evtstrm sve bf16 i8mm"


@pytest.fixture
def cpuinfo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that Linux lists them in; it doesn't exist yet."""
    monkeypatch.setattr(processor, "_CPUINFO", tmp_path / "cpuinfo")
    return tmp_path / "cpuinfo"


@pytest.mark.parametrize(
    ("line", "emulated", "is_slow"),
    [
        (SAPPHIRE_RAPIDS, False, False),
        (AMX_HIDDEN, False, True),
        (COOPER_LAKE, False, False),
        (ZEN_4, False, False),
        (ZEN_6, False, False),
        (INTEL + HASWELL, True, True),
        (GRAVITON_2, True, True),
        (GRAVITON_3, False, False),
        ("Features\t: none that is known", False, False),
    ],
)
def test_who_emulates_bfloat16_or_is_slow_in_it(
    line: str, emulated: bool, is_slow: bool, cpuinfo: Path
) -> None:
    cpuinfo.write_text(f"processor\t: 0\nmodel name\t: X\n{line}\nbugs\t\t:\n{line}\n")
    assert emulates_bfloat16(instructions()) is emulated
    assert is_slow_in_bfloat16(instructions()) is is_slow


def test_all_that_kernels_use_are_listed(cpuinfo: Path) -> None:
    cpuinfo.write_text(SAPPHIRE_RAPIDS)
    vector = ["avx2", "avx512_f", "avx_vnni", "avx512_vnni", "slow_avx512_bf16"]
    assert instructions() == [*vector, "amx_bf16", "amx_int8"]


def test_torch_lists_them_where_the_system_does_not(
    cpuinfo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = MappingProxyType({"avx2": True, "avx512_bf16": False, "architecture": "x86_64"})
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: told, raising=False)
    assert instructions() == ["avx2"]
    halves = {"avx512_fp16": True, "avx512_bf16": True, "cpu_name": "Intel Xeon"}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: halves)
    assert instructions() == ["slow_avx512_bf16"]
    monkeypatch.delattr(torch.cpu, "get_capabilities")  # an older torch
    assert instructions() == []
    assert not emulates_bfloat16([])


def test_linux_and_torch_list_the_same(monkeypatch: pytest.MonkeyPatch, cpuinfo: Path) -> None:
    if not Path("/proc/cpuinfo").exists() or not hasattr(torch.cpu, "get_capabilities"):
        pytest.skip("one of them doesn't list any")
    told = instructions()  # `cpuinfo` doesn't exist
    monkeypatch.setattr(processor, "_CPUINFO", Path("/proc/cpuinfo"))
    arm = {"asimd", "arm_bf16"}  # torch has other names for them
    found = [name for name in instructions() if name not in arm]
    if "avx512_fp16" not in torch.cpu.get_capabilities():  # an older torch: is it slow in bfloat16?
        found = [name.removeprefix("slow_") for name in found]
    assert found == told


def test_a_processor_is_named_as_the_system_names_it(
    cpuinfo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "processor", lambda: "")
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    assert processor.processor_name() == "riscv64"
    cpuinfo.write_text("vendor_id\t: one\nmodel name\t: Fast 7\nmodel name\t: another\n")
    assert processor.processor_name() == "Fast 7"
