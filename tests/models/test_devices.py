"""`--device-map auto`: what reaches the loader, and where a spread model takes its inputs."""

from __future__ import annotations

import importlib.util
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from dycoke_cli import DyCoke, FastV, Uncompressed, VideoSession, errors, load
from dycoke_cli.errors import ModelError, UsageError
from dycoke_cli.kernels import replacing
from dycoke_cli.kernels.linear import PackedLinear, can_pack
from dycoke_cli.models import devices
from dycoke_cli.models import load as stored
from dycoke_cli.models.load import LoadedModel
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.models.resolve import check_device_map
from tests.natural import Pictures, pan


@pytest.mark.parametrize(("gpus", "name"), [(0, "cuda"), (1, "cuda:1"), (1, "cuda"), (2, "cuda:1")])
def test_a_gpu_that_is_not_there_is_refused(
    gpus: int, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    refused = pytest.raises(UsageError, match=f"devices on this machine: {gpus}; use --device c")
    with nullcontext() if gpus > name.count("1") else refused:
        assert devices.named_device(name) == torch.device(name)


def model_on(**places: Any) -> Any:
    return SimpleNamespace(hf_device_map=places, device=torch.device("meta"))


@pytest.mark.parametrize(
    ("places", "takes", "named"),
    [
        ({"vision": 0, "first": 1, "last": "cpu"}, "cuda:0", "cuda:0, cuda:1, cpu"),
        # What waits in main memory or on the disk is run by the first GPU.
        ({"vision": "cpu", "first": 1, "last": "disk"}, "cuda:1", "cpu, cuda:1, disk"),
        ({"vision": "cpu", "first": "disk"}, "cpu", "cpu, disk"),
        ({"vision": torch.device("cuda", 1), "first": 0}, "cuda:1", "cuda:1, cuda:0"),
    ],
)
def test_where_a_spread_model_takes_its_inputs(
    places: dict[str, Any], takes: str, named: str
) -> None:
    model = model_on(**places)
    assert devices.input_device(model) == torch.device(takes)
    assert ", ".join(devices.device_names(model)) == named
    assert devices.has_device_map(model)


def test_a_model_on_one_device() -> None:
    for model in (
        SimpleNamespace(device=torch.device("cuda", 1)),
        SimpleNamespace(device=torch.device("cuda", 1), hf_device_map={"": 1}),
    ):
        assert devices.input_device(model) == torch.device("cuda", 1)
        assert devices.device_names(model) == ["cuda:1"]
        assert not devices.has_device_map(model)


ACCELERATE = pytest.mark.skipif(
    importlib.util.find_spec("accelerate") is None,
    reason="accelerate (extra big) isn't installed",
)
QUESTION = "What happens in the video?"


@pytest.fixture(scope="module")
def whole() -> LoadedModel:
    return load("mini", device="cpu")


def spread(monkeypatch: pytest.MonkeyPatch, main_memory: int, **options: Any) -> LoadedModel:
    """The bundled model of 18 MB with so many bytes of main memory: the rest stays on the disk."""
    stock = stored.device_map_options

    def limited(*given: Any) -> dict[str, Any]:
        return {**stock(*given), "max_memory": {"cpu": main_memory}}

    monkeypatch.setattr(stored, "device_map_options", limited)
    return load("mini", device_map="auto", **options)


@pytest.mark.extended
@ACCELERATE
@pytest.mark.slow
def test_layers_on_the_disk(
    whole: LoadedModel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    main_memory = 5_000_000
    loaded = spread(monkeypatch, main_memory)
    assert loaded.device == "cpu, disk"
    away = [one for one in loaded.model.parameters() if one.is_meta]
    assert sum(one.nbytes for one in away) > loaded.weights_bytes - main_memory
    assert loaded.working_weights_bytes < main_memory < loaded.weights_bytes == whole.weights_bytes
    for method in (Uncompressed(), DyCoke(prune_layer=4), FastV(prune_layer=4)):
        here, there = (
            VideoSession(one, Pictures.of(pan(4))).ask(QUESTION, method, max_tokens=4)
            for one in (whole, loaded)
        )
        assert there.answer == here.answer
        assert there.tokens == here.tokens
        assert there.model.device == "cpu, disk"
    assert sum(one.is_meta for one in loaded.model.parameters()) == len(away)
    assert caplog.records == []  # where layers are isn't news


@ACCELERATE
@pytest.mark.skipif(not can_pack(), reason="this processor has no products in bfloat16 to pack for")
def test_layers_of_a_spread_model_stay_stock(monkeypatch: pytest.MonkeyPatch) -> None:
    """accelerate moves their weights when they are used, which it can't do with packed ones."""
    monkeypatch.setattr(replacing, "MIN_PACKED_WEIGHTS", 8)
    model = spread(monkeypatch, 9_000_000, dtype="bfloat16").model
    assert not any(isinstance(part, PackedLinear) for part in model.modules())


def test_accelerate_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    here = importlib.util.find_spec
    monkeypatch.setattr(
        errors, "find_spec", lambda name: None if name == "accelerate" else here(name)
    )
    sentence = "--device-map auto needs the package accelerate, .*pip install .*\\[big"
    with pytest.raises(ModelError, match=sentence):
        load("mini", device_map="auto")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"device_map": "auto", "device": "cuda:1"}, "chooses the devices itself; drop device=c"),
        ({"device_map": "balanced"}, "device_map must be auto, not 'balanced'"),
    ],
)
def test_what_does_not_go_together(options: dict[str, str], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        LoadOptions(**options)  # type: ignore[arg-type]


def test_quantized_layers_need_a_gpu_to_be_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match="with --quantize int4 needs a CUDA device"):
        check_device_map("auto", "int4")
