"""The rule of `--dtype auto`, and that every command follows it, on processors of each kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from dycoke_cli.models import devices, resolve
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.models.resolve import resolve_model

GB = 10**9
EMULATES, COMPUTES = ["avx2", "avx512_vnni"], ["avx2", "avx512_bf16"]
IS_SLOW = ["avx2", "avx512_vnni", "slow_avx512_bf16"]


@pytest.fixture
def on(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes this machine one with these instructions and so much free memory."""

    def become(instructions: list[str], free: int | None = 24 * GB) -> None:
        monkeypatch.setattr(devices, "instructions", lambda: instructions)
        monkeypatch.setattr(resolve, "free_main_memory", lambda: free)

    return become


@pytest.mark.parametrize(
    ("wanted", "stored", "cpu", "has", "free", "expected"),
    [
        # Emulated, and it fits with a fifth more for what an answer needs: float32.
        ("auto", "bfloat16", True, EMULATES, 12 * GB, "float32"),
        ("auto", "float16", True, EMULATES, 12 * GB, "float32"),
        ("auto", "bfloat16", True, EMULATES, 12 * GB - 1, "bfloat16"),
        ("auto", "float16", True, EMULATES, None, "bfloat16"),
        # Computed by the CPU.
        ("auto", "bfloat16", True, COMPUTES, 12 * GB, "bfloat16"),
        ("auto", "float16", True, COMPUTES, 12 * GB, "bfloat16"),
        # As stored.
        ("auto", "float32", True, EMULATES, 12 * GB, "float32"),
        ("auto", "float64", True, EMULATES, 11 * GB, "float64"),
        ("auto", "bfloat16", False, EMULATES, None, "bfloat16"),
        ("auto", "float16", False, EMULATES, None, "float16"),
        # As wanted.
        ("bfloat16", "float32", True, EMULATES, 12 * GB, "bfloat16"),
        ("float32", "bfloat16", True, EMULATES, 11 * GB, "float32"),
        ("float16", "bfloat16", True, EMULATES, 12 * GB, "float16"),
    ],
)
def test_the_rule(
    wanted: Any, stored: str, cpu: bool, has: list[str], free: int | None, expected: str,
    on: Callable[..., None],
) -> None:  # fmt: skip
    on(has)
    options = LoadOptions(dtype=wanted)
    chosen = devices.weight_dtype(options, stored, lambda: 5 * GB, cpu=cpu, free=free)
    assert chosen == expected


@pytest.mark.parametrize(
    ("options", "stored", "copies", "expected"),
    [
        (LoadOptions(), "bfloat16", 1, "float32"),
        (LoadOptions(), "bfloat16", 3, "bfloat16"),  # three processes load it
        (LoadOptions(dtype="bfloat16"), "bfloat16", 1, "bfloat16"),
        (LoadOptions(dtype="bfloat16"), "float32", 1, "bfloat16"),
        (LoadOptions(quantize="int8"), "bfloat16", 1, "float32"),
        (LoadOptions(quantize="int8", dtype="bfloat16"), "bfloat16", 1, "bfloat16"),
        (LoadOptions(quantize="int4"), "bfloat16", 1, "bfloat16"),
    ],
)  # fmt: skip
def test_options_and_copies(
    options: LoadOptions,
    stored: str,
    copies: int,
    expected: str,
    on: Callable[..., None],
) -> None:
    on(EMULATES)
    chosen = devices.weight_dtype(
        options, stored, lambda: 4 * GB, cpu=True, free=20 * GB, copies=copies
    )
    assert chosen == expected


def test_the_size_is_read_only_where_it_matters(on: Callable[..., None]) -> None:
    asked: list[int] = []

    def dtype(options: LoadOptions, *, cpu: bool = True) -> str:
        return devices.weight_dtype(
            options, "bfloat16", lambda: asked.append(1), cpu=cpu, free=None
        )

    on(COMPUTES)
    assert dtype(LoadOptions()) == "bfloat16"
    on([])
    assert dtype(LoadOptions()) == "bfloat16"  # a processor that doesn't list its instructions
    on(EMULATES)
    assert dtype(LoadOptions(dtype="float32")) == "float32"
    assert dtype(LoadOptions(), cpu=False) == "bfloat16"
    assert not asked
    assert dtype(LoadOptions()) == "bfloat16"
    assert asked


@pytest.mark.parametrize(
    ("has", "expected"), [(EMULATES, "float32"), (IS_SLOW, "float32"), (COMPUTES, "bfloat16")]
)
def test_the_bundled_model_and_its_identity(
    has: list[str], expected: str, on: Callable[..., None]
) -> None:
    on(has, free=0)
    resolved = resolve_model("mini", LoadOptions(device="cpu"))
    assert resolved.dtype == getattr(torch, expected)
    assert resolved.describe()["dtype"] == expected
    # Processes that load it later, beside it or on another machine, load the same.
    assert resolved.options == LoadOptions(device="cpu", dtype=expected)  # type: ignore[arg-type]
    # An answer in a dtype that was named has the key that it always had.
    for named in ("bfloat16", "float32"):
        options = LoadOptions(device="cpu", dtype=named)  # type: ignore[arg-type]
        assert resolve_model("mini", options).describe()["dtype"] == named
