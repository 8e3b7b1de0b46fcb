"""Int8 weights on disk: the same logits as without, and what becomes of unusable files."""

from __future__ import annotations

import shutil
import threading
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from dycoke_cli.kernels import int8_linear, tensor_files
from dycoke_cli.kernels.int8_linear import (
    FbgemmInt8Linear,
    Int8Cache,
    Int8Linear,
    PairedInt8Linear,
    int8_kernels,
)
from dycoke_cli.kernels.replacing import to_round, use_int8
from dycoke_cli.models import load as loading
from dycoke_cli.models.catalog import BUNDLED_CHECKPOINT
from dycoke_cli.models.load import load

KERNELS = int8_kernels()
if len(KERNELS) > 1:
    KERNELS["both"] = PairedInt8Linear


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the bundled model in bfloat16, large enough to be cached."""
    monkeypatch.setenv("DYCOKE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(loading, "MIN_CACHED_WEIGHTS", 0)
    return Path(shutil.copytree(BUNDLED_CHECKPOINT, tmp_path / "model"))


def logits(loaded: Any) -> torch.Tensor:
    """Logits of a prompt of text."""
    with torch.inference_mode():
        return loaded.model(input_ids=torch.arange(1, 9)[None]).logits


def files(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache" / "int8").rglob("*.safetensors"))


@pytest.mark.parametrize("kernel", KERNELS.values())
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.slow
def test_the_second_start_computes_the_same_from_the_cache_alone(
    model: Path, kernel: Any, dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dycoke_cli.kernels.choice.int8_kernels", lambda: {"int8": kernel})
    options = {"device": "cpu", "dtype": dtype, "quantize": "int8"}
    monkeypatch.setattr(loading, "MIN_CACHED_WEIGHTS", 10**12)
    without = logits(load(str(model), **options))
    assert files(tmp_path) == []
    monkeypatch.setattr(loading, "MIN_CACHED_WEIGHTS", 0)
    stages: list[tuple[str, int, int]] = []
    first = load(str(model), on_stage=lambda *stage: stages.append(stage), **options)
    # In float32 nothing is packed, and attention runs on the same kernels.
    kernels = "fast" if dtype == "float32" else "stock"
    plain = load(str(model), device="cpu", dtype=dtype, kernels=kernels)
    layers = to_round(plain.model)
    assert len(files(tmp_path)) == len(layers) > 10
    assert stages == [("pack", n, len(layers)) for n in range(1, len(layers) + 1)]
    stages.clear()
    # The stock weights of those layers aren't needed any more: as NaN they'd show in every logit.
    identity = "the same files"
    monkeypatch.setattr("dycoke_cli.models.resolve.fingerprint", lambda *_: identity)
    load(str(model), **options)
    spoil(model, {f"{name}.weight" for name in layers})
    second = load(str(model), on_stage=lambda *stage: stages.append(stage), **options)
    assert stages == []
    use_int8(plain.model, dict.fromkeys(layers, kernel))
    if dtype == "float32":  # in bfloat16, layers that aren't rounded are packed as well
        assert torch.equal(without, logits(plain))
    assert torch.equal(without, logits(first))
    assert torch.equal(without, logits(second))
    assert second.warnings == first.warnings
    assert {layer.weight.dtype for layer in map(second.model.get_submodule, layers)} == {
        getattr(torch, dtype)
    }


@pytest.mark.parametrize("kernel", KERNELS.values())
def test_threads_restore_the_same_layers(
    model: Path, kernel: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dycoke_cli.kernels.choice.int8_kernels", lambda: {"int8": kernel})
    monkeypatch.setattr(int8_linear, "_FBGEMM_OUTPUTS", 100)  # parts, which threads pack as well
    options = {"device": "cpu", "dtype": "float32", "quantize": "int8"}
    first = load(str(model), **options)
    together, threads = threading.Barrier(3), []
    read = Int8Cache.read

    def wait(*arguments: Any) -> Any:
        if len(threads) < 3:
            threads.append(threading.get_ident())
            together.wait(60)
        return read(*arguments)

    monkeypatch.setattr(Int8Cache, "read", wait)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    filters = list(warnings.filters)
    second = load(str(model), **options)
    assert len({*threads}) == 3
    assert torch.equal(logits(first), logits(second))
    assert warnings.filters == filters
    assert second.warnings == first.warnings


@pytest.mark.skipif(Int8Linear not in KERNELS.values(), reason="oneDNN has no int8 product here")
def test_a_layout_that_isnt_this_processs_is_packed_anew_and_that_is_said(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dycoke_cli.kernels.choice.int8_kernels", lambda: {"int8": Int8Linear})
    options = {"device": "cpu", "dtype": "float32", "quantize": "int8"}
    first = load(str(model), **options)

    def refuse(*_: object) -> None:
        raise ValueError("of another layout")

    with monkeypatch.context() as patch:
        patch.setattr(int8_linear, "restored", refuse)
        second = load(str(model), **options)
    assert torch.equal(logits(first), logits(second))
    (said,) = {*second.warnings} - {*first.warnings}
    assert "in the cache were damaged; the layers concerned were packed anew" in said
    assert load(str(model), **options).warnings == first.warnings


def cache_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Int8Cache:
    monkeypatch.setenv("DYCOKE_CACHE", str(tmp_path / "cache"))
    return Int8Cache({"weights": "those"}, "a-model")


LAYER = torch.nn.Linear(300, 16)
ROUNDED = FbgemmInt8Linear.rounded(LAYER.weight.detach())
LAYOUT = FbgemmInt8Linear.layout(LAYER)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def flip(path: Path, byte: int) -> None:
    content = bytearray(path.read_bytes())
    content[byte] ^= 1
    path.write_bytes(content)


def swap(path: Path) -> None:
    """Two sectors of a disk stand in each other's place."""
    content = path.read_bytes()
    first, second, rest = content[-2048:-1536], content[-1536:-1024], content[-1024:]
    assert first != second
    path.write_bytes(content[:-2048] + second + first + rest)


def flip_twice(path: Path) -> None:
    """A bit of a number and the same one of a number elsewhere, the other way: sums are equal."""
    content = bytearray(path.read_bytes())
    at = next(i for i in range(-2000, -8) if content[i] & 1 and not content[i + 8] & 1)
    content[at] ^= 1
    content[at + 8] ^= 1
    path.write_bytes(content)


def link(path: Path) -> None:
    path.symlink_to(path.rename(path.with_suffix(".elsewhere")))


@pytest.mark.parametrize(
    "damage",
    [
        cut,
        partial(flip, byte=-5),
        partial(flip, byte=-2000),
        swap,
        flip_twice,
        link,
        lambda path: path.write_bytes(b""),
        lambda path: path.chmod(0o666),
    ],
    ids=[
        "cut off",
        "a bit",
        "an earlier bit",
        "swapped",
        "two bits",
        "a link",
        "empty",
        "writable for others",
    ],
)
def test_a_damaged_file_isnt_used_and_is_replaced(
    damage: Callable[[Path], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for layer in ("one", "two"):
        cache_of(tmp_path, monkeypatch).write(layer, "kernel", ROUNDED)
        (path,) = (path for path in files(tmp_path) if path.stem == layer)
        damage(path)
    cache = cache_of(tmp_path, monkeypatch)
    assert [cache.read(layer, "kernel", LAYOUT) for layer in ("one", "two")] == [None, None]
    (said,) = cache.problems
    assert "a-model in the cache were damaged" in said
    cache.write("one", "kernel", ROUNDED)
    found = cache_of(tmp_path, monkeypatch).read("one", "kernel", LAYOUT)
    assert found is not None
    assert all(torch.equal(found[name], ROUNDED[name]) for name in ROUNDED)


def test_files_are_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = cache_of(tmp_path, monkeypatch)
    cache.write("one", "kernel", ROUNDED)
    (path,) = files(tmp_path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert [*path.parent.iterdir()] == [path]


@pytest.mark.parametrize("asked", ["another kernel", "another layout", "fewer tensors"])
def test_another_kernels_file_isnt_used(
    asked: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = cache_of(tmp_path, monkeypatch)
    cache.write("one", "kernel", ROUNDED)
    wanted = {
        "another kernel": ("other", LAYOUT),
        "another layout": ("kernel", FbgemmInt8Linear.layout(torch.nn.Linear(32, 16))),
        "fewer tensors": ("kernel", dict([*LAYOUT.items()][1:])),
    }
    assert cache.read("one", *wanted[asked]) is None
    # Measuring more may make another kernel the fastest: its files are no damage.
    assert bool(cache.problems) is (asked != "another kernel")
    assert cache.read("one", "kernel", LAYOUT) is not None


def test_weights_of_another_processor_are_packed_anew_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = cache_of(tmp_path, monkeypatch)
    cache.write("one", "kernel", ROUNDED)
    assert cache.problems == []
    monkeypatch.setattr(int8_linear, "instructions", lambda: ["of another one"])
    moved = cache_of(tmp_path, monkeypatch)
    assert moved.read("one", "kernel", LAYOUT) is None
    (said,) = moved.problems
    assert "a-model in the cache are of another processor" in said
    moved.write("one", "kernel", ROUNDED)
    assert cache_of(tmp_path, monkeypatch).problems == []
    assert len(files(tmp_path)) == 2


def test_a_full_disk_is_said_once_and_nothing_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = cache_of(tmp_path, monkeypatch)
    cache.write("one", "kernel", ROUNDED)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tensor_files, "save_file", full)
    for layer in ("two", "three"):
        cache.write(layer, "kernel", ROUNDED)
    (said,) = cache.problems
    assert "can't be kept in" in said
    assert "(No space left on device); each start packs them anew" in said
    assert files(tmp_path) == []


def test_a_wide_layer_is_packed_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x = torch.nn.Linear(24, 40), torch.randn(3, 24)
    with torch.inference_mode():
        whole = FbgemmInt8Linear(layer)(x)
        monkeypatch.setattr(int8_linear, "_FBGEMM_OUTPUTS", 16)
        assert torch.equal(FbgemmInt8Linear(layer)(x), whole)


def spoil(model: Path, names: set[str]) -> None:
    """Replace weights of a checkpoint by NaN."""
    (file,) = model.glob("*.safetensors")
    tensors = load_file(file)
    with safe_open(file, "pt") as opened:
        about = opened.metadata()
    # Loaded names differ from stored ones in their first parts.
    ends = {".".join(name.split(".")[-4:]) for name in names}
    hit = [name for name in tensors if ".".join(name.split(".")[-4:]) in ends]
    assert len(hit) > 10
    for name in hit:
        tensors[name] = torch.full_like(tensors[name], float("nan"))
    save_file(tensors, file, about)
