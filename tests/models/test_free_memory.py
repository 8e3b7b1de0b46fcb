"""What is free, by the files that the system keeps, and what is done when weights don't fit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dycoke_cli import resources as module
from dycoke_cli.errors import OutOfMemoryError
from dycoke_cli.models import loading
from dycoke_cli.models.choosing import choose
from dycoke_cli.models.free_memory import free_memory, in_words
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.models.source import find
from dycoke_cli.models.weights_size import check_room, weights_bytes

CPU = torch.device("cpu")
GB = 10**9


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files as the kernel writes them: 8 GB available, no limits."""
    (tmp_path / "meminfo").write_text("MemTotal: 16000000 kB\nMemAvailable:    8000000 kB\n")
    (tmp_path / "cgroup").write_text("0::/user/job\n")
    monkeypatch.setattr(module, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(module, "_CGROUP", tmp_path / "cgroup")
    monkeypatch.setattr(module, "_MOUNTED", tmp_path / "fs")
    return tmp_path


def group(folder: Path, most: str, used: int, cached: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(f"{most}\n")
    (folder / "memory.current").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 5\ninactive_file {cached}\n")


def test_what_is_available(system: Path) -> None:
    assert free_memory(CPU) == 8_000_000 * 1024


def test_the_limit_of_a_container(system: Path) -> None:
    group(system / "fs" / "user" / "job", "max", 3 * GB, 0)
    assert free_memory(CPU) == 8_000_000 * 1024
    group(system / "fs" / "user", str(6 * GB), 3 * GB, 1 * GB)  # of a group above it
    assert free_memory(CPU) == 4 * GB
    group(system / "fs" / "user" / "job", str(2 * GB), 3 * GB, 0)
    assert free_memory(CPU) == 0


def test_the_limit_where_only_the_top_is_mounted(system: Path) -> None:
    group(system / "fs", str(6 * GB), 4 * GB, 0)
    assert free_memory(CPU) == 2 * GB


def test_limits_of_the_older_kind(system: Path) -> None:
    (system / "cgroup").write_text("7:cpu,memory:/job\n3:pids:/\n")
    folder = system / "fs" / "memory" / "job"
    folder.mkdir(parents=True)
    (folder / "memory.limit_in_bytes").write_text(f"{5 * GB}\n")
    (folder / "memory.usage_in_bytes").write_text(f"{4 * GB}\n")
    (folder / "memory.stat").write_text(f"total_inactive_file {GB}\n")
    assert free_memory(CPU) == 2 * GB


def test_where_nobody_says(system: Path) -> None:
    (system / "meminfo").unlink()
    (system / "cgroup").unlink()
    assert free_memory(CPU) is None


def test_this_machine_has_some() -> None:
    assert (free_memory(CPU) or 1) > 0


def test_in_words() -> None:
    assert in_words(19_010_000_000, 24_400_000_000) == "needs about 19 GB, 24 GB free"
    assert in_words(9_440_000_000, 500_000_000) == "needs about 9.4 GB, 0.5 GB free"


def test_weights_by_their_headers_are_those_that_are_loaded() -> None:
    loaded = loading.load("mini", device="cpu", dtype="float32")
    found = weights_bytes(find("mini"), torch.float32)
    assert found == pytest.approx(loaded.weights_bytes, rel=0.01)
    assert weights_bytes(find("mini"), torch.bfloat16) == found / 2


def test_weights_of_the_catalog_are_known_before_they_are_there() -> None:
    assert weights_bytes(find("llava-onevision-7b"), torch.bfloat16) == 2 * 8_030_000_000


def write(file: Path, tensors: dict[str, tuple[str, list[int], int]]) -> None:
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, (dtype, shape, size) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text)


def test_files_that_are_not_loaded_do_not_count(tmp_path: Path) -> None:
    source = replace(find("mini"), location=str(tmp_path))
    write(tmp_path / "model-1.safetensors", {"a": ("F16", [3, 4], 24), "b": ("U8", [5], 5)})
    write(tmp_path / "model-2.safetensors", {"c": ("BF16", [], 2)})
    assert weights_bytes(source, torch.float32) == 4 * 12 + 5 + 4
    write(tmp_path / "consolidated.safetensors", {"a": ("F16", [3, 4], 24)})
    index = {"weight_map": {"a": "model-1.safetensors", "c": "model-2.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert weights_bytes(source, torch.float32) == 4 * 12 + 5 + 4
    (tmp_path / "model-2.safetensors").write_bytes(b"not a header")
    assert weights_bytes(source, torch.float32) is None


def test_what_does_not_fit_is_refused_with_the_flag_that_helps() -> None:
    chosen = choose("mini", LoadOptions(device="cpu", dtype="float32"))
    needed = weights_bytes(chosen.source, torch.float32)
    assert needed is not None
    check_room(chosen, needed)
    check_room(chosen, None)
    with pytest.raises(OutOfMemoryError) as error:
        check_room(chosen, needed - 1)
    assert str(error.value).startswith("the model mini needs about 0.0 GB, 0.0 GB free on cpu; use")
    assert str(error.value).endswith("use --dtype bfloat16 or a smaller --model")
    with pytest.raises(OutOfMemoryError, match=r"use a smaller --model$"):
        check_room(chosen, needed // 2 - 1)
    with pytest.raises(
        OutOfMemoryError, match=r"use a smaller --model or --device-map auto or --device cpu$"
    ):
        check_room(replace(chosen, device=torch.device("cuda")), 0)


def test_nothing_is_loaded_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "free_memory", lambda device: 10)
    monkeypatch.setattr(loading, "stored_model", None)
    with pytest.raises(OutOfMemoryError, match="the model mini needs about"):
        loading.load("mini", device="cpu")
