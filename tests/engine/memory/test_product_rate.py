"""The rate of a matrix product: timed once, kept, and timed again where what is kept is damaged."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import pytest
import torch

from dycoke_cli.engine.memory import flops as rates
from dycoke_cli.engine.memory.flops import product_rate
from dycoke_cli.kernels import linear
from dycoke_cli.kernels.linear import FbgemmInt8Linear
from dycoke_cli.storage.cache_folder import ENVIRONMENT


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where rates are kept, of a machine that isn't busy."""
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path))
    monkeypatch.setattr(rates, "is_overloaded", lambda: False)
    return tmp_path / "estimates"


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Dtypes that are timed, as ten more each time."""
    asked: list[str] = []

    def fake(dtype: str, device: str, stage: str) -> float:
        asked.append(dtype)
        return 10.0 * len(asked)

    monkeypatch.setattr(rates, "_timed", fake)
    return asked


def test_it_is_timed_for_a_quarter_of_a_second() -> None:
    state, began = torch.get_rng_state(), time.perf_counter()
    found = rates._timed.__wrapped__("float32", "cpu", "prefill")
    taken = time.perf_counter() - began
    assert 1e8 < found < 1e15
    assert taken > rates.TIMED_S
    assert torch.equal(torch.get_rng_state(), state), "sampling must not depend on it"


def test_the_median_product_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    moments = iter((1.0, 1.25, 1.375, 1.75))
    monkeypatch.setattr(rates, "time", SimpleNamespace(perf_counter=lambda: next(moments)))
    assert rates._timed.__wrapped__("float32", "cpu", "prefill") == 1024**3 / 0.25


def test_int8_is_timed_by_the_layers_of_this_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    multiplied = []

    class Layer(FbgemmInt8Linear):
        def product(self, tokens: torch.Tensor) -> torch.Tensor:
            multiplied.append((tuple(tokens.shape), self.out_features))
            return super().product(tokens)

    monkeypatch.setattr(rates, "TIMED_S", 0.01)
    kernels = {"of prompts": Layer, "of one": Layer}
    monkeypatch.setattr(linear, "int8_kernels", lambda: kernels)
    for stage in get_args(rates.Stage):
        assert rates._timed.__wrapped__("int8", "cpu", stage) > 0
    assert {*multiplied} == {((1024, 1024), 1024), ((1, 1024), 65_536)}


def test_products_are_those_of_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without AMX, oneDNN's product of bfloat16 is 13 times as fast as that of `@`."""

    def refused(one: torch.Tensor, other: torch.Tensor) -> None:
        raise AssertionError("a model multiplies by F.linear")

    monkeypatch.setattr(torch.Tensor, "__matmul__", refused)
    assert rates._timed.__wrapped__("float32", "cpu", "prefill") is not None


def test_it_is_kept_by_dtype_stage_and_torch_release(
    timed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [product_rate(dtype, "cpu", "prefill") for dtype in ("float32", "bfloat16")] == [
        10.0,
        20.0,
    ]
    assert [product_rate(dtype, "cpu", "prefill") for dtype in ("float32", "bfloat16")] == [
        10.0,
        20.0,
    ]
    assert timed == ["float32", "bfloat16"]
    monkeypatch.setattr(rates, "version", lambda package: "0.0.0")
    assert product_rate("float32", "cpu", "prefill") == 30.0
    assert [product_rate("float32", "cpu", "decode") for _ in range(2)] == [40.0, 40.0]


@pytest.mark.parametrize("content", ["", "[", "null", "-1.0", "1e999", "NaN", "true", '"1.0"'])
def test_what_is_no_rate_is_timed_again(content: str, timed: list[str], folder: Path) -> None:
    product_rate("float32", "cpu", "prefill")
    [file] = folder.glob("rate-*.json")
    file.write_text(content)
    assert product_rate("float32", "cpu", "prefill") == 20.0
    assert product_rate("float32", "cpu", "prefill") == 20.0


def test_that_of_a_busy_machine_is_not_kept(
    timed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rates, "is_overloaded", lambda: True)
    assert [product_rate("float32", "cpu", "prefill") for _ in range(2)] == [10.0, 20.0]


def test_where_nothing_can_be_written_it_is_timed(timed: list[str], folder: Path) -> None:
    folder.write_text("")
    assert product_rate("float32", "cpu", "prefill") == 10.0


def test_an_accelerator_that_is_not_here(timed: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert (
        product_rate("bfloat16", "cuda", "prefill")
        is product_rate("bfloat16", "mps", "prefill")
        is None
    )
    assert not timed
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for name, rate in (("A", 10.0), ("B", 20.0), ("A", 10.0)):  # each has its own
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda name=name: name)
        assert product_rate("bfloat16", "cuda", "prefill") == rate
    assert product_rate("bfloat16", "mps", "prefill") is None


def test_a_device_without_memory_has_no_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch, "full", full)
    assert rates._timed.__wrapped__("bfloat16", "cpu", "prefill") is None
