"""The flags that would have been faster: which are named, and by how much."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from transformers import AutoConfig

from benchmarks.kept_tables import read_table
from dycoke_cli.answer.answer import Answer, ReportedModel, Seconds
from dycoke_cli.compression.registry import create
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.kernels import processor
from dycoke_cli.kernels.int8_linear import int8_kernels
from dycoke_cli.kernels.processor import Processor
from dycoke_cli.models.catalog import published
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.request import Request
from dycoke_cli.runs import faster_flags as faster_flags_module
from dycoke_cli.runs.faster_flags import AVX2, AVX512, encoded_early, faster_flags
from dycoke_cli.video import Sampling
from tests.documents import example

SECONDS = Seconds(
    load=5.0, video_decode=1.0, vision=70.0, prefill=20.0, first_token=91.0, decode=9.0, total=100.0
)
SLOW = example(
    Answer, model=example(ReportedModel, device="cpu", dtype="bfloat16"), seconds=SECONDS
)
REQUEST = Request(
    "llava-onevision-0.5b", LoadOptions(), Sampling(), create("dycoke"), GenerationOptions()
)


def loaded(name: str = "llava-onevision-0.5b", **more: Any) -> Any:
    """As much of a loaded model as is asked for."""
    config = AutoConfig.for_model(**published(name).config)
    for key, value in more.items():
        setattr(config, key, value)
    return SimpleNamespace(model=SimpleNamespace(config=config))


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Processor:
    """A machine with neither AMX nor bfloat16, where nothing was timed yet."""
    monkeypatch.setenv("DYCOKE_CACHE", str(tmp_path))
    for module in (processor, faster_flags_module):
        monkeypatch.setattr(module, "instructions", lambda: ["avx2"])
    return Processor.here()


def advice(answer: Answer = SLOW, request: Request = REQUEST, model: Any = None) -> str | None:
    return faster_flags(answer, request, model or loaded())


def with_method(name: str, **parameters: Any) -> Request:
    return replace(REQUEST, method=create(name, **parameters))


ROUNDED = replace(REQUEST, loading=LoadOptions(quantize="int8"))


def test_an_answer_that_came_soon_or_from_a_gpu_needs_none() -> None:
    assert advice(replace(SLOW, seconds=replace(SECONDS, total=29.0))) is None
    assert advice(replace(SLOW, model=replace(SLOW.model, device="cuda:0"))) is None


def test_where_nothing_was_timed_another_machine_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert advice() == (
        "Faster: --merge-stage vision --quantize int8 (65 s in place of 176 s, on another machine, "
        "2 cores of AMD EPYC (avx2))"
    )
    early = with_method("dycoke", merge_stage="vision")
    assert "Faster: --quantize int8 (65 s in place of 102 s, on another" in (
        advice(request=early) or ""
    )
    # Where bfloat16 is computed, 8 bits gain little.
    monkeypatch.setattr(faster_flags_module, "instructions", lambda: ["avx2", "avx512_bf16"])
    assert "(38 s in place of 74 s, on another machine" in (advice() or "")
    assert advice(request=early) is None


@pytest.mark.parametrize(
    ("kept", "published_there"),
    [("2-cores-of-amd-epyc-avx2", AVX2), ("2-cores-of-amd-epyc-avx512-bf16", AVX512)],
)
def test_what_is_said_of_other_machines_is_what_was_measured(
    kept: str, published_there: Any
) -> None:
    head, *rows = read_table(f"speed-{kept}")
    assert head[0].startswith("32 frames, ")
    seconds = {row[0]: row[head.index("end to end, s")] for row in rows}
    found = [
        float(seconds[f"custom CPU kernels, DyCoke{name}"].split()[0])
        for name in ("", " before vision", " before vision, int8")
    ]
    assert found == [*published_there.taken.values()]
    machine = re.sub(r"[^a-z0-9]+", "-", published_there.machine.lower()).strip("-")
    assert machine == kept


def test_what_was_timed_here_decides(machine: Processor) -> None:
    # 8 bits take half of a prompt's time, and a third of a token's.
    machine.write(
        {
            "linear 896x896, 128 tokens, bfloat16": timed(8.0, 4.0),
            "linear 896x896, 1 token from memory, bfloat16": timed(3.0, 1.0),
            "linear 896x896, 128 tokens, float32": timed(1.0, 9.0),
            "linear 896x896, 1 token from memory, float32": timed(1.0, 9.0),
        }
    )
    share = encoded_early(REQUEST.method, loaded().model.config)
    assert share is not None
    expected = 1 + 70 * share / 2 + 20 / 2 + 9 / 3
    assert advice() == (
        f"Faster: --merge-stage vision --quantize int8 ({expected:.0f} s in place of 100 s, as "
        "estimated from what was measured on this machine)"
    )
    # Slower here, in another dtype: then it isn't named.
    slower = replace(SLOW, model=replace(SLOW.model, dtype="float32"))
    expected = 1 + 70 * share + 20 + 9
    assert (advice(slower) or "").startswith(
        f"Faster: --merge-stage vision ({expected:.0f} s in place of 100 s, as estimated"
    )


def timed(stock: float, eight: float) -> dict[str, float]:
    """Milliseconds of a shape; every kernel in 8 bits takes as long."""
    return {"stock": stock, **dict.fromkeys(int8_kernels(), eight)}


def test_with_amx_8_bits_are_not_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faster_flags_module, "instructions", lambda: ["avx2", "amx_bf16"])
    assert "Faster: --merge-stage vision (" in (advice() or "")


def test_only_what_was_not_given_and_what_is_supported_is_named() -> None:
    assert "Faster: --merge-stage vision (" in (advice(request=ROUNDED) or "")
    both = replace(with_method("dycoke", merge_stage="vision"), loading=ROUNDED.loading)
    assert advice(request=both) is None
    # A method, a variant, a family that can't; weights that are rounded already.
    for request in (
        with_method("visionzip"),
        with_method("dycoke", variant="published"),
        with_method("none"),
    ):
        assert "Faster: --quantize int8 (" in (advice(request=request) or "")
    other = loaded(model_type="perception_lm")
    assert "Faster: --quantize int8 (" in (advice(model=other) or "")
    stored = loaded(quantization_config={"bits": 4})
    assert "Faster: --merge-stage vision (" in (advice(model=stored) or "")


@pytest.mark.parametrize(
    ("name", "share"),
    [("dycoke", (1 + 3 * 0.3) / 4), ("evs", (1 + 7 * 0.3) / 8)],
)
def test_what_is_encoded_is_counted(name: str, share: float) -> None:
    assert encoded_early(create(name), loaded().model.config) == pytest.approx(share)
