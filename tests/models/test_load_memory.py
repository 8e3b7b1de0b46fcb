"""What loading takes, against what it really took, and what is done where it doesn't fit."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from transformers import AutoConfig

from dycoke_cli import errors
from dycoke_cli.errors import OutOfMemoryError
from dycoke_cli.models import devices
from dycoke_cli.models import load as load_module
from dycoke_cli.models.catalog import CATALOG, published, published_names
from dycoke_cli.models.load_memory import check_room, needed_bytes, weight_bytes
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.models.resolve import ResolvedModel, resolve_model
from tests.cli.harness import ROOT, run_here, run_process
from tests.families.stock import one_of_each_kind
from tests.marks import EXTENDED

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
STOCK = {"device": "cpu", "kernels": "stock"}


def random(name: str, **options: Any) -> ResolvedModel:
    return resolve_model(name, LoadOptions(random_weights=True, **(STOCK | options)))


# The first one's output layer is its input embedding.
@pytest.mark.parametrize(
    "name",
    one_of_each_kind(published_names(), ("qwen2-vl-2b", "llava-onevision-7b", "video-llava-7b")),
)
def test_random_weights_take_what_the_published_ones_do(name: str) -> None:
    parameters = CATALOG[name].parameters
    assert parameters is not None
    for dtype, each in (("bfloat16", 2), ("float32", 4)):
        needed = needed_bytes(random(name, dtype=dtype))
        assert needed == pytest.approx(each * parameters, rel=0.03)


def test_the_bundled_model_takes_what_it_holds() -> None:
    loaded = load_module.load("mini", dtype="float32", **STOCK)
    assert needed_bytes(resolve_model("mini", LoadOptions(dtype="float32", **STOCK))) == (
        loaded.weights_bytes
    )


# About 400 MB, so that pages and libraries hardly count.
MEASURED = """
import json, sys
from dataclasses import replace
from pathlib import Path
import psutil, torch
from dycoke_cli.models import load as load_module
from dycoke_cli.models.resolve import resolve_model
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.models.load import random_model
from dycoke_cli.models.load_memory import needed_bytes
options = json.loads(sys.argv[1])
load_module.load("mini", device="cpu", quantize=options["quantize"])  # libraries
name, options = "llava-onevision-0.5b", {"device": "cpu", "random_weights": True, **options}
chosen = resolve_model(name, LoadOptions(**options))
chosen.config.text_config.num_hidden_layers = chosen.config.vision_config.num_hidden_layers = 3
chosen.config.text_config.layer_types = chosen.config.text_config.layer_types[:3]
needed = needed_bytes(chosen)
load_module.resolve_model = lambda *_: chosen
built = chosen.config, chosen.device, chosen.dtype
load_module.with_random_weights = lambda _: (random_model(*built), None)
before = psutil.Process().memory_info().rss
Path("/proc/self/clear_refs").write_text("5")
loaded = load_module.load(name, **options)
(peak,) = [l for l in Path("/proc/self/status").read_text().splitlines() if l.startswith("VmHWM")]
print(json.dumps([needed, int(peak.split()[1]) * 1024 - before, loaded.weights_bytes]))
"""


@pytest.mark.extended
@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux")
@pytest.mark.parametrize(
    "options",
    [
        {"quantize": None, "kernels": "stock"},
        {"quantize": None, "kernels": "fast"},
        {"quantize": "int8", "kernels": "fast"},
    ],
)
def test_it_is_what_the_system_counts_at_the_peak(options: dict[str, Any], tmp_path: Path) -> None:
    # A choice of kernels that was measured and kept on this machine may leave layers as they are.
    command = [sys.executable, "-c", MEASURED, json.dumps(options)]
    run = run_process(command, DYCOKE_CACHE=str(tmp_path))
    assert run.code == 0, run.err
    needed, peak, held = json.loads(run.out)
    assert held <= needed
    # What the allocator holds ready between two layers counts as resident: up to 17 % was seen.
    assert 0.9 * needed < peak < 1.3 * needed


def on(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "named_device", lambda name: device)
    monkeypatch.setattr(errors, "find_spec", lambda name: True)


def test_int8_of_bitsandbytes(monkeypatch: pytest.MonkeyPatch) -> None:
    on(CUDA, monkeypatch)
    needed = needed_bytes(_as_if("llava-onevision-7b", quantize="int8"))
    # 6.53e9 weights of 28 decoder layers in a byte with 4 for each of their outputs, 1.5e9 others
    # in two, and the largest of them as it was before.
    decoder = 28 * (2 * 3584**2 + 2 * 512 * 3584 + 3 * 18944 * 3584)
    scales = 4 * 28 * (2 * 3584 + 2 * 512 + 2 * 18944 + 3584)
    whole = 2 * (8_030_807_584 - decoder)
    expected = decoder + scales + whole + 2 * 18944 * 3584
    assert needed == pytest.approx(expected, rel=1e-3)


def _as_if(name: str, **options: Any) -> ResolvedModel:
    """A model with a published configuration, as if its weights were stored."""
    chosen = resolve_model("mini", LoadOptions(dtype="bfloat16", **options))
    return replace(chosen, config=AutoConfig.for_model(**published(name).config))


def test_weights_that_are_stored_quantized_are_as_large_as_their_files() -> None:
    chosen = resolve_model("mini", LoadOptions(**STOCK))
    chosen.config.quantization_config = {"quant_method": "awq"}
    assert (
        needed_bytes(chosen) == (Path(chosen.source.location) / "model.safetensors").stat().st_size
    )


def test_a_model_that_does_not_fit() -> None:
    chosen = resolve_model("mini", LoadOptions(dtype="float32", **STOCK))
    needed = needed_bytes(chosen)
    assert needed is not None
    check_room(chosen, needed)
    check_room(chosen, None)
    check_room(chosen, 3 * needed, copies=3)
    with pytest.raises(
        OutOfMemoryError, match=r"mini needs about 0.0 GB, 0.0 GB free on cpu; use a smaller"
    ):
        check_room(chosen, needed - 1)
    with pytest.raises(
        OutOfMemoryError, match=r"mini in 3 processes needs .* use fewer --workers or a smaller"
    ):
        check_room(chosen, 3 * needed - 1, copies=3)
    spread = replace(chosen, options=LoadOptions(device_map=None))
    object.__setattr__(spread.options, "device_map", "auto")
    with pytest.raises(OutOfMemoryError, match=r"free on all devices together; use a smaller"):
        check_room(spread, needed - 1)


MINI = ("--model", "mini", "--device", "cpu", "--quiet")
# The video alone would take more than half of what is free.
READ = ("--memory-limit", "1GB")


@pytest.mark.parametrize(
    "command",
    [
        ("ask", "MOVE", "What?", *MINI, *READ),
        ("ask", "MOVE", "What?", "--model", "llava-onevision-0.5b", "--random-weights", "--device",
         "cpu", "--quiet", *READ),
        ("batch", "MOVE", "What?", *MINI),
        ("eval", "shapes", "--out", "answers", *MINI, "--limit", "2", "--workers", "2",
         "--quantize", "int8"),
        *(
            pytest.param(command, marks=EXTENDED)
            for command in (
                ("ask", "MOVE", "What?", *MINI, *READ, "--quantize", "int8"),
                ("batch", "MOVE", "What?", *MINI, "--quantize", "int8"),
                ("eval", "shapes", "--out", "answers", *MINI, "--limit", "1", "--workers", "1"),
            )
        ),
    ],
)  # fmt: skip
def test_every_command_refuses_it(
    command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = psutil.virtual_memory()._replace(available=14_000_000)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free)
    monkeypatch.setattr(load_module, "from_pretrained", None)
    monkeypatch.setattr(load_module, "with_random_weights", None)
    monkeypatch.chdir(tmp_path)
    move = str(ROOT / "sample_videos" / "move.mp4")
    done = run_here(*(move if word == "MOVE" else word for word in command))
    assert done.code == 5, done.err
    assert "0.0 GB free on cpu; use" in done.err
    assert done.out == ""


def test_bitsandbytes_takes_its_bytes_of_each_weight() -> None:
    """Of Qwen2-0.5B's layers, by hand: half a byte or one, and their scales."""
    weights = 24 * (2 * 896 * 896 + 2 * 896 * 128 + 3 * 896 * 4864)
    outputs = 24 * (3 * 896 + 2 * 128 + 2 * 4864)
    stock = random("llava-onevision-0.5b", dtype="bfloat16")
    for quantize, device, expected in (
        ("int4", CUDA, weights // 2 + weights // 64 + weights // 4096),
        ("int4", CPU, weights // 2 + weights // 32),
        ("int8", CUDA, weights + 4 * outputs),
    ):
        options = replace(stock.options, quantize=quantize)
        quantized = replace(stock, options=options, device=device)
        whole, fewer = (found.loaded for found in map(weight_bytes, (stock, quantized)) if found)
        assert whole - fewer == 2 * weights - expected


def test_nothing_is_loaded_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_module, "free_memory", lambda device: 10)
    monkeypatch.setattr(load_module, "free_memory_of_all", lambda: 10)
    monkeypatch.setattr(load_module, "from_pretrained", None)
    monkeypatch.setattr(errors, "find_spec", lambda name: True)
    for options in ({}, {"quantize": "int8"}, {"quantize": "int4"}):
        with pytest.raises(OutOfMemoryError, match="the model mini needs about"):
            load_module.load("mini", device="cpu", **options)
    with pytest.raises(OutOfMemoryError, match="on all devices together"):
        load_module.load("mini", device_map="auto")
