"""Kernels that each class of processors gets, by part of a model and by shape."""

from __future__ import annotations

from itertools import cycle
from typing import Any

import psutil
import pytest
import torch

from dycoke_cli.engine.memory.flops import is_overloaded
from dycoke_cli.kernels import replacing
from dycoke_cli.kernels.attention import DECODE_ONLY, NAME
from dycoke_cli.kernels.linear import (
    FbgemmInt8Linear,
    Int8Linear,
    PairedInt8Linear,
    int8_kernels,
)
from dycoke_cli.kernels.replacing import (
    KernelChoice,
    choose_kernels,
    eligible,
    parts_of,
    to_pack,
    to_round,
    use_int8,
)
from dycoke_cli.stock.forward import SDPA
from tests.families.tiny import MAKERS

BOTH = {"int8 (oneDNN)": Int8Linear, "int8 (FBGEMM)": FbgemmInt8Linear}
AVX2 = ["avx2"]
VNNI = ["avx2", "avx512_f", "avx512_vnni"]
BFLOAT16 = [*VNNI, "avx512_bf16"]
AMX = [*BFLOAT16, "amx_bf16", "amx_int8"]


@pytest.fixture(autouse=True)
def large_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every layer of a tiny model is large enough for all kernels."""
    monkeypatch.setattr(replacing, "MIN_INT8_OUTPUTS", 8)
    monkeypatch.setattr(replacing, "MIN_PACKED_WEIGHTS", 8)


def model(family: str = "llava_onevision", dtype: torch.dtype = torch.bfloat16) -> Any:
    torch.manual_seed(0)
    return MAKERS[family]()[0].eval().to(dtype)


def test_attention_by_instructions_and_dtype(monkeypatch: pytest.MonkeyPatch) -> None:
    half, single = model(), model(dtype=torch.float32)
    for given, has, custom in (
        (half, BFLOAT16, NAME),
        (half, [], NAME),  # another architecture, which doesn't name them
        (half, AMX, SDPA),
        (half, VNNI, DECODE_ONLY),  # which emulates it
        (half, AVX2, DECODE_ONLY),
        *((single, has, DECODE_ONLY) for has in ([], AVX2, VNNI, BFLOAT16, AMX)),
    ):
        monkeypatch.setattr(replacing, "instructions", lambda has=has: has)
        assert choose_kernels(given, quantized=False).attention == custom, has


@pytest.mark.parametrize("amx", [True, False])
def test_large_layers_of_the_language_model_are_packed_with_amx_alone(
    amx: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replacing, "instructions", lambda: AMX if amx else BFLOAT16)
    given = model()
    layers, parts = eligible(given), parts_of(given)
    small = min(layer.in_features for name, layer in layers.items() if parts[name] == "decoder")
    monkeypatch.setattr(replacing, "MOST_PACKED_INPUTS", small)
    packed = {*choose_kernels(given, quantized=False).packed}
    stock = {
        name
        for name, layer in layers.items()
        if parts[name] != "vision" and layer.in_features > small and not amx
    }
    assert packed == {*layers} - stock
    assert bool(stock) is not amx
    assert choose_kernels(model(dtype=torch.float32), quantized=False).packed == []


@pytest.mark.parametrize(
    ("least", "memory", "pairs"),
    [(1, 16, True), (1, 15.9, False), (1, None, False), (1.1, 16, False)],
)
def test_int8_kernels_by_part(
    least: float, memory: float | None, pairs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Least and memory are in multiples of what the second copies take together."""
    monkeypatch.setattr(replacing, "int8_kernels", lambda: BOTH)
    given = model()
    parts = parts_of(given)
    decoder = [given.get_submodule(name) for name in to_round(given) if parts[name] == "decoder"]
    second = sum(map(FbgemmInt8Linear.nbytes_of, decoder))
    monkeypatch.setattr(replacing, "MIN_SECOND_BYTES", int(least * second))
    monkeypatch.setattr(replacing, "main_memory", lambda: memory and int(memory * second))
    # Copies that together take more than a sixteenth of the memory aren't made, nor if it isn't
    # known.
    of_decoder = PairedInt8Linear if pairs else Int8Linear
    kinds = {"vision": Int8Linear, "decoder": of_decoder, "output": FbgemmInt8Linear}
    expected = {name: kinds[part] for name, part in parts.items()}
    found = choose_kernels(given, quantized=True).int8
    assert found == {name: expected[name] for name in to_round(given)}
    assert {*found.values()} == {*kinds.values()}
    assert choose_kernels(given, quantized=False).int8 == {}


def test_where_onednn_has_no_product_all_layers_are_fbgemms(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one = {"int8 (FBGEMM)": FbgemmInt8Linear}
    monkeypatch.setattr(replacing, "int8_kernels", lambda: one)
    given = model()
    found = choose_kernels(given, quantized=True).int8
    assert found == dict.fromkeys(to_round(given), FbgemmInt8Linear)


def test_layers_have_a_kernel_from_a_size_on(monkeypatch: pytest.MonkeyPatch) -> None:
    given = model()
    layers = eligible(given)
    outputs = sorted({layer.out_features for layer in layers.values()})[1]
    weights = sorted({layer.weight.numel() for layer in layers.values()})[1]
    monkeypatch.setattr(replacing, "MIN_INT8_OUTPUTS", outputs)
    monkeypatch.setattr(replacing, "MIN_PACKED_WEIGHTS", weights)
    assert to_round(given) == [n for n, one in layers.items() if one.out_features >= outputs]
    assert to_pack(given) == [n for n, one in layers.items() if one.weight.numel() >= weights]


def test_parts_of_a_model() -> None:
    parts = parts_of(model("qwen2_vl"))
    assert [name for name, part in parts.items() if part == "output"] == ["lm_head"]
    assert {part for name, part in parts.items() if "visual" in name} == {"vision"}
    assert {part for name, part in parts.items() if "layers" in name} == {"decoder"}


@pytest.mark.parametrize(("load", "expected"), [(0.0, False), (4.0, False), (4.1, True)])
def test_more_processes_than_cpus_overload(
    load: float, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(psutil, "getloadavg", lambda: (load, 9.0, 9.0))
    monkeypatch.setattr(psutil, "cpu_count", lambda: 4)
    assert is_overloaded() is expected


def test_each_layer_gets_its_kernel() -> None:
    given = model()
    layers = to_round(given)
    kinds = cycle(int8_kernels().values())
    choice = KernelChoice(SDPA, [], dict(zip(layers, kinds)))  # noqa: B905
    use_int8(given, choice.int8)
    assert all(type(given.get_submodule(name)) is kind for name, kind in choice.int8.items())
