"""Kernels are those measured to be fastest: with made-up times, and with files of all kinds."""

from __future__ import annotations

import json
import os
import random
import threading
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from torch import nn

from dycoke_cli import load
from dycoke_cli.kernels import choice as kernel_choice
from dycoke_cli.kernels import processor, replacing
from dycoke_cli.kernels import replacing as timing
from dycoke_cli.kernels.attention import (
    BIDIRECTIONAL,
    CAUSAL,
    DECODE,
    NAME,
    SHAPES,
    name_of,
)
from dycoke_cli.kernels.choice import (
    KernelChoice,
    attention_shapes,
    choose_kernels,
    measured,
    unmeasured,
)
from dycoke_cli.kernels.int8_linear import (
    FbgemmInt8Linear,
    Int8Linear,
    PairedInt8Linear,
    int8_kernels,
)
from dycoke_cli.kernels.linear import Bfloat16Linear, can_pack
from dycoke_cli.kernels.processor import Processor
from dycoke_cli.kernels.replacing import (
    AttentionShape,
    LinearShape,
    Shape,
    eligible,
    time_kernels,
    to_round,
    use_custom_attention,
    use_int8,
    use_packed,
)
from dycoke_cli.resources import is_overloaded
from dycoke_cli.stock.attention import SDPA
from dycoke_cli.stock.private_api import attention_implementation
from dycoke_cli.storage import cache_folder as cache
from tests.families.tiny import MAKERS

INT8 = {"int8 (oneDNN)": Int8Linear, "int8 (FBGEMM)": FbgemmInt8Linear}
KERNELS = ("stock", "packed", "own", *INT8)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every model is large enough, both int8 kernels are there, and times are kept apart."""
    monkeypatch.setattr(kernel_choice, "int8_kernels", lambda: INT8)
    monkeypatch.setenv(cache.ENVIRONMENT, str(tmp_path / "cache"))
    monkeypatch.setattr(kernel_choice, "MIN_TIMED_WEIGHTS", 0)
    monkeypatch.setattr(kernel_choice, "is_overloaded", lambda: False)
    monkeypatch.setattr(replacing, "MIN_INT8_OUTPUTS", 8)
    return tmp_path / "cache" / "kernels"


@pytest.fixture
def timed(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> dict[str, dict[str, float]]:
    """The made-up times of the shapes that were asked for; drawn where none is set before."""
    drawn, asked = random.Random(request.node.name), dict[str, dict[str, float]]()

    def fake(shape: Shape, quantized: bool, until: float) -> dict[str, float]:
        return asked.setdefault(
            str(shape), {n: drawn.uniform(1, 2) for n in names(shape, quantized)}
        )

    monkeypatch.setattr(kernel_choice, "time_kernels", fake)
    return asked


def names(shape: Shape, quantized: bool) -> list[str]:
    """The kernels of a shape on a processor that has all of them."""
    if isinstance(shape, AttentionShape):
        return ["stock", "own"]
    packed = ["packed"] if shape.dtype == "bfloat16" else []
    return ["stock", *packed, *(INT8 if quantized else ())]


def model(family: str = "llava_onevision", dtype: torch.dtype = torch.bfloat16) -> Any:
    torch.manual_seed(0)
    return MAKERS[family]()[0].eval().to(dtype)


def seconds(
    given: Any, name: str, kernels: tuple[str, str], times: dict[str, dict[str, float]]
) -> float:
    """What a layer takes in an answer of 1,024 tokens of a prompt and 64 generated ones.

    Args:
        kernels: of the prompt, and of a generated token.
    """
    layer, decoder = given.get_submodule(name), given.get_decoder()
    sizes = f"linear {min(layer.in_features, 2048)}x{min(layer.out_features, 1024)}"
    generates = layer in [*decoder.modules()] or layer is given.get_output_embeddings()
    total, one = (
        count * times.get(f"{sizes}, {tokens}, bfloat16", {}).get(kernel, 0.0)
        for count, tokens, kernel in zip(
            (8, 64), ("128 tokens", "1 token from memory"), kernels, strict=True
        )
    )
    if layer is given.get_output_embeddings():  # of a prompt it gets the last token
        return one
    return total + (one if generates else 0)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("family", ["llava_onevision", "qwen2_5_vl"])
def test_nothing_is_chosen_that_was_slower(
    family: str, seed: int, timed: dict[str, dict[str, float]]
) -> None:
    given = model(family)
    choice = choose_kernels(given, quantized=True)
    layers, least = eligible(given), 0.0
    assert {*choice.int8} == {*to_round(given)}
    for name in layers:
        stock, packed = (seconds(given, name, (k, k), timed) for k in ("stock", "packed"))
        assert (name in choice.packed) is (packed < stock)
        if kind := choice.int8.get(name):
            one, other = INT8
            # FBGEMM packs at each start.
            taken = {
                Int8Linear: seconds(given, name, (one, one), timed),
                FbgemmInt8Linear: 1.1 * seconds(given, name, (other, other), timed),
                PairedInt8Linear: 1.1 * seconds(given, name, (one, other), timed),
            }
            assert kind is min(taken, key=taken.__getitem__)
            least += taken[kind] / (1 if kind is Int8Linear else 1.1)
    for shape in attention_shapes(given):
        taken = timed[str(shape)]
        assert (shape.shape in choice.attention) is (taken["own"] < taken["stock"])
    usual = sum(
        min(seconds(given, name, (k, k), timed) for k in KERNELS[:2]) for name in choice.int8
    )
    assert choice.int8_is_slower is (least > usual)


@pytest.mark.parametrize(
    ("token_ms", "memory"), [(0.5, 10**9), (0.95, 10**9), (0.5, 10**5), (0.5, None)]
)
def test_both_kernels_where_one_is_faster_at_prompts_and_the_other_at_tokens(
    token_ms: float, memory: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fake(shape: Shape, quantized: bool, until: float) -> dict[str, float]:
        if isinstance(shape, AttentionShape):
            return {"stock": 1.0, "own": 2.0}
        others = {"stock": 9.0, "packed": 9.0, "int8 (oneDNN)": 1.0}
        return {**others, "int8 (FBGEMM)": 9.0 if shape.tokens > 1 else token_ms}

    monkeypatch.setattr(kernel_choice, "time_kernels", fake)
    monkeypatch.setattr(kernel_choice, "main_memory", lambda: memory)
    given = model()
    generating = {id(part) for part in given.get_decoder().modules()}
    choice = choose_kernels(given, quantized=True).int8
    assert {*choice} == {*to_round(given)}
    for name, kind in choice.items():
        # 8 + 64 ms, or 1.1 times 8 + 32: a second copy of the weights that saves less isn't made.
        # Nor are copies that together take more than a sixteenth of the memory, if it is known.
        layer = given.get_submodule(name)
        if layer is given.get_output_embeddings():  # it gets single tokens only, so one is enough
            assert kind is (FbgemmInt8Linear if token_ms == 0.5 else Int8Linear)
            continue
        both = token_ms == 0.5 and memory == 10**9 and id(layer) in generating
        assert kind is (PairedInt8Linear if both else Int8Linear)


def test_keys_and_values_are_packed_where_that_is_faster(
    timed: dict[str, dict[str, float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = model()
    always = lambda shape, quantized, until: {"stock": 2.0, "packed": 1.0, "own": 3.0}  # noqa: E731
    monkeypatch.setattr(kernel_choice, "time_kernels", always)
    choice = choose_kernels(given, quantized=False)
    assert {*choice.packed} == {*eligible(given)}
    assert any("k_proj" in name for name in choice.packed)
    assert choice.attention == frozenset()
    if use_packed(given, choice.packed):  # not on every processor
        assert all(isinstance(given.get_submodule(name), Bfloat16Linear) for name in choice.packed)


def test_equal_times_leave_what_is_stock(
    timed: dict[str, dict[str, float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    same = lambda shape, quantized, until: dict.fromkeys(KERNELS, 1.0)  # noqa: E731
    monkeypatch.setattr(kernel_choice, "time_kernels", same)
    choice = choose_kernels(model(), quantized=True)
    assert (choice.packed, choice.attention, choice.int8_is_slower) == ([], frozenset(), False)


@pytest.mark.parametrize("quantized", [True, False])
def test_a_small_model_is_not_measured(
    quantized: bool, folder: Path, timed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel_choice, "MIN_TIMED_WEIGHTS", 100_000_000)
    given = model()
    assert choose_kernels(given, quantized) == unmeasured(given, quantized)
    monkeypatch.undo()
    load("mini", device="cpu", quantize="int8" if quantized else None)
    assert not timed
    assert not folder.exists()


def test_stock_kernels_are_not_measured(timed: dict[str, Any], folder: Path) -> None:
    loaded = load("mini", device="cpu", kernels="stock", dtype="bfloat16")
    assert attention_implementation(loaded.model) == SDPA
    assert not any(isinstance(part, Bfloat16Linear) for part in loaded.model.modules())
    assert not timed
    assert not folder.exists()


def test_loading_follows_what_was_measured(
    timed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = {"stock": 2.0, "own": 1.0, "packed": 3.0, "int8 (oneDNN)": 9.0, "int8 (FBGEMM)": 7.0}

    def fake(shape: Shape, quantized: bool, until: float) -> dict[str, float]:
        if isinstance(shape, AttentionShape) and shape.shape == CAUSAL:
            return {"stock": 1.0, "own": 2.0}
        return taken

    monkeypatch.setattr(kernel_choice, "time_kernels", fake)
    loaded = load("mini", device="cpu", dtype="bfloat16")
    own = {shape.shape for shape in attention_shapes(loaded.model)} - {CAUSAL}
    assert DECODE in own
    expected = frozenset(SHAPES) - {CAUSAL}  # what the model doesn't have stays as it would be
    assert attention_implementation(loaded.model) in (name_of(own), name_of(expected))
    assert not any(isinstance(part, Bfloat16Linear) for part in loaded.model.modules())
    loaded = load("mini", device="cpu", dtype="bfloat16", quantize="int8")
    assert any(isinstance(part, FbgemmInt8Linear) for part in loaded.model.modules())
    assert not any(isinstance(part, Int8Linear) for part in loaded.model.modules())
    assert loaded.warnings == (kernel_choice.INT8_IS_SLOWER,)


def test_times_are_kept_and_asked_for_once(
    timed: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = model()
    first = choose_kernels(given, quantized=False)
    kept = json.loads(Processor.here().file.read_text())
    assert kept["times"] == timed
    assert kept["machine"]["torch"] == torch.__version__
    asked: list[Shape] = []

    def fake(shape: Shape, quantized: bool, until: float) -> dict[str, float]:
        asked.append(shape)
        return dict.fromkeys(KERNELS, 1.0)

    monkeypatch.setattr(kernel_choice, "time_kernels", fake)
    assert choose_kernels(given, quantized=False) == first
    assert not asked
    choose_kernels(given, quantized=True)  # those in 8 bits are new
    assert asked
    assert all(isinstance(shape, LinearShape) for shape in asked)


def test_another_machine_has_another_file(monkeypatch: pytest.MonkeyPatch) -> None:
    here = Processor.here().file
    changes: list[tuple[Any, str, Callable[[], Any]]] = [
        (torch, "get_num_threads", lambda: 77),
        (processor, "processor_name", lambda: "another"),
        (processor, "instructions", lambda: ["amx_int8"]),
    ]
    for where, name, value in changes:
        with monkeypatch.context() as patch:
            patch.setattr(where, name, value)
            assert Processor.here().file != here
    assert Processor.here().file == here


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "null", '{"times": 3}', '{"machine": 1, "times": {}}',
        "MACHINE {}", 'MACHINE {"x": 3}', 'MACHINE {"x": {"stock": "fast"}}',
        'MACHINE {"x": {"stock": NaN}}', 'MACHINE {"x": {"stock": -1}}', 'MACHINE {"x": {}}',
        f'MACHINE {{"x": {{"stock": 1{"0" * 400}}}}}', "[" * 100_000,
    ],
)  # fmt: skip
def test_a_damaged_file_is_measured_anew(text: str, timed: dict[str, Any], folder: Path) -> None:
    given, file = model(), Processor.here().file
    kept = choose_kernels(given, quantized=False)
    if text.startswith("MACHINE "):
        whole = json.loads(file.read_text())
        text = f'{{"machine": {json.dumps(whole["machine"])}, "times": {text.split(" ", 1)[1]}}}'
    file.write_text(text)
    assert choose_kernels(given, quantized=False) == kept
    assert {*timed} <= {*json.loads(file.read_text())["times"]}
    file.write_bytes(b"\xff\xfe\x00")
    assert choose_kernels(given, quantized=False) == kept
    file.unlink()
    os.mkfifo(file)  # would be waited for
    assert choose_kernels(given, quantized=False) == kept


def test_a_folder_that_cannot_be_written_stops_nothing(
    timed: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.parent.mkdir()
    folder.write_text("a file where the folder would be")
    given = model()
    first = choose_kernels(given, quantized=True)
    assert timed
    assert choose_kernels(given, quantized=True) == first

    def homeless(name: str) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(processor, "kept", homeless)
    assert choose_kernels(given, quantized=True) == first


def test_runs_at_the_same_time_leave_a_whole_file(timed: dict[str, Any], folder: Path) -> None:
    shapes = [LinearShape(8, 8 * (i + 1), 1, "float32") for i in range(12)]
    runs = [
        threading.Thread(target=measured, args=(shapes[i : i + 6], False)) for i in range(0, 12, 2)
    ]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert {*Processor.here().read()} == {str(shape) for shape in shapes}
    assert [path.suffix for path in folder.iterdir() if path.suffix == ".tmp"] == []


def test_what_there_is_no_time_for_stays_as_it_would_be(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(kernel_choice, "MIN_TIMED_WEIGHTS", 0)
    monkeypatch.setattr(kernel_choice, "LIMIT_S", -1.0)
    monkeypatch.setattr(kernel_choice, "is_overloaded", lambda: False)
    monkeypatch.setenv(cache.ENVIRONMENT, str(folder.parent))
    given = model()
    assert choose_kernels(given, quantized=True) == unmeasured(given, quantized=True)
    assert Processor.here().read() == {}


def test_an_overloaded_machine_measures_nothing_and_keeps_to_what_it_knows(
    timed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = model()
    monkeypatch.setattr(kernel_choice, "is_overloaded", lambda: True)
    assert choose_kernels(given, quantized=True) == unmeasured(given, quantized=True)
    assert not timed
    monkeypatch.setattr(kernel_choice, "is_overloaded", lambda: False)
    known = choose_kernels(given, quantized=True)
    monkeypatch.setattr(kernel_choice, "is_overloaded", lambda: True)
    assert choose_kernels(given, quantized=True) == known != unmeasured(given, quantized=True)


@pytest.mark.parametrize(("load", "expected"), [(0.0, False), (4.0, False), (4.1, True)])
def test_more_processes_than_cpus_overload(
    load: float, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(psutil, "getloadavg", lambda: (load, 9.0, 9.0))
    monkeypatch.setattr(psutil, "cpu_count", lambda: 4)
    assert is_overloaded() is expected


@pytest.mark.parametrize("shape", SHAPES)
def test_attention_is_timed_as_a_model_calls_it(
    shape: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(timing.ATTENDED, shape, 16)
    found = time_kernels(
        AttentionShape(shape, 4, 4 if shape == BIDIRECTIONAL else 2, 12, "float32"), True
    )
    assert {*found} == {"stock", "own"}
    assert all(taken > 0 for taken in found.values())


def test_every_linear_kernel_is_timed_and_nothing_drawn() -> None:
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    found = time_kernels(LinearShape(32, 16, 4, "bfloat16"), True)
    packed = {"packed"} if can_pack() else set()
    assert {*found} == {"stock", *packed, *int8_kernels()}
    assert {*time_kernels(LinearShape(32, 16, 4, "float32"), False)} == {"stock"}
    assert torch.equal(torch.rand(3), expected)


def test_shapes_of_a_model_are_its_own() -> None:
    given = model("qwen2_vl")
    text, vision = given.config.get_text_config(), given.config.vision_config
    shapes = {shape.shape: shape for shape in attention_shapes(given)}
    assert shapes[CAUSAL].heads == text.num_attention_heads
    assert shapes[CAUSAL].kv_heads == text.num_key_value_heads
    width = vision.embed_dim // vision.num_heads
    assert (BIDIRECTIONAL in shapes) is (width % 32 != 0)
    layer = nn.Linear(5000, 3000, dtype=torch.bfloat16)
    prompt = LinearShape(2048, 1024, 128, "bfloat16")
    token = LinearShape(4096, 3000, 1, "bfloat16")
    assert kernel_choice.linear_shapes(layer, "decoder") == [prompt, token]
    assert kernel_choice.linear_shapes(layer, "vision") == [prompt]
    assert kernel_choice.linear_shapes(layer, "output") == [token]
    parts = kernel_choice.parts_of(given)
    assert [name for name, part in parts.items() if part == "output"] == ["lm_head"]
    assert {part for name, part in parts.items() if "visual" in name} == {"vision"}
    assert {part for name, part in parts.items() if "layers" in name} == {"decoder"}


@pytest.mark.parametrize("own", [{CAUSAL}, {DECODE}, {CAUSAL, DECODE}, {DECODE, BIDIRECTIONAL}])
def test_a_name_says_whether_prompts_are_ours(own: set[str]) -> None:
    name = name_of(own)
    assert name.endswith(NAME) is (CAUSAL in own)
    given = model()
    assert use_custom_attention(given, own)
    assert attention_implementation(given.get_decoder()) == name
    assert not use_custom_attention(model(), frozenset())


def test_each_layer_gets_its_kernel() -> None:
    given = model()
    layers = to_round(given)
    kinds = cycle(int8_kernels().values())
    choice = KernelChoice(frozenset(), [], dict(zip(layers, kinds)))  # noqa: B905
    use_int8(given, choice.int8)
    assert all(type(given.get_submodule(name)) is kind for name, kind in choice.int8.items())
