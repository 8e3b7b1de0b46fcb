"""`--quantize`: which package gets which arguments, what stays whole, what is refused.

What bitsandbytes computes is in `test_bitsandbytes.py`, and 8 bits on a CPU in
`test_int8_linear.py`.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from transformers import AutoConfig

from dycoke_cli import errors
from dycoke_cli.errors import ModelError, UsageError
from dycoke_cli.kernels import quantize as quantizing
from dycoke_cli.models import load as stored
from dycoke_cli.models.catalog import published
from dycoke_cli.models.load import load
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.models.resolve import resolve_model
from tests.families.tiny import MAKERS

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)
# What stands beside the text decoder, written down from the stock classes.
BESIDE = {
    "llava_onevision": {"model.vision_tower", "model.multi_modal_projector", "lm_head"},
    "video_llava": {
        "model.video_tower", "model.image_tower", "model.multi_modal_projector", "lm_head",
    },
    "qwen2_5_vl": {"model.visual", "lm_head"},
    "qwen3_vl": {"model.visual", "lm_head"},
    "internvl": {"model.vision_tower", "model.multi_modal_projector", "lm_head"},
    "smolvlm": {"model.vision_model", "model.connector", "lm_head"},
}  # fmt: skip


@pytest.fixture
def config() -> Any:
    """Of a tiny model."""
    return MAKERS["llava_onevision"]()[0].config


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """All packages seem to be there."""
    monkeypatch.setattr(errors, "find_spec", lambda name: object())


@pytest.mark.parametrize("family", BESIDE)
def test_the_vision_side_and_the_output_layer_stay_whole(family: str) -> None:
    config = MAKERS[family]()[0].config
    config.dtype = torch.float16
    assert set(quantizing.skipped_modules(config, "int8")) == BESIDE[family]
    assert config.dtype == torch.float16  # the configuration is left as it was


def test_int8_on_a_cpu_needs_no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(errors, "find_spec", lambda name: None)
    monkeypatch.setattr(stored, "quantization", lambda *_: pytest.fail("by bitsandbytes"))
    loaded = load("mini", device="cpu", quantize="int8")
    assert stored.device_map_options(None, "int8", loaded.model.config, CPU) == {}
    assert loaded.dtype == "int8"


def test_a_quantized_model_is_another_model() -> None:
    whole, quantized = (
        resolve_model("mini", LoadOptions(device="cpu", quantize=quantize)).describe()
        for quantize in (None, "int8")
    )
    assert quantized == whole | {"dtype": f"int8/{whole['dtype']}"} != whole
    options = LoadOptions(device="cpu", quantize="int8", dtype="float32")
    assert resolve_model("mini", options).describe()["dtype"] == "int8/float32"


def test_what_bitsandbytes_is_given() -> None:
    config = AutoConfig.for_model(**published("qwen2.5-vl-3b").config)
    whole = ["model.visual", "lm_head"]
    int8 = quantizing.quantization("int8", config)
    assert (int8.load_in_8bit, int8.load_in_4bit) == (True, False)
    int4 = quantizing.quantization("int4", config)
    assert (int4.load_in_8bit, int4.load_in_4bit) == (False, True)
    assert (int4.bnb_4bit_quant_type, int4.bnb_4bit_use_double_quant) == ("nf4", True)
    assert int4.bnb_4bit_compute_dtype == torch.bfloat16
    assert int8.llm_int8_skip_modules == int4.llm_int8_skip_modules == whole


@pytest.mark.parametrize(("quantize", "device"), [("int4", CPU), ("int4", CUDA), ("int8", CUDA)])
def test_what_bitsandbytes_quantizes_is_put_in_its_place(
    quantize: str, device: torch.device, config: Any
) -> None:
    """Such a model can't be moved."""
    assert stored.device_map_options(None, quantize, config, device) == {
        "device_map": {"": str(device)}
    }
    assert stored.device_map_options("auto", quantize, config, device) == {"device_map": "auto"}


def test_no_kernel_comes_from_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """bitsandbytes imports the package that would fetch it; whoever else wants that gets it."""
    (tmp_path / "kernels.py").touch()
    (tmp_path / "bitsandbytes.py").write_text(
        "try:\n    import kernels\nexcept ImportError:\n    kernels = None\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    for imported in (False, True):
        with mock.patch.dict(sys.modules):
            for name in ("bitsandbytes", "kernels"):
                sys.modules.pop(name, None)
            kernels = importlib.import_module("kernels") if imported else None
            quantizing.import_bitsandbytes()
            assert sys.modules["bitsandbytes"].kernels is None
            assert sys.modules.get("kernels") is kernels


def test_unquantized_models_are_moved_by_us(config: Any) -> None:
    assert stored.device_map_options(None, None, config, CUDA) == {}
    assert not quantizing.stored_quantized(config)


def test_a_checkpoint_that_is_quantized_already(installed: None, config: Any) -> None:
    config.quantization_config = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    with pytest.raises(UsageError, match="someone/it is stored with quantized weights; drop --qua"):
        quantizing.check_quantize("int8", "someone/it", config, CPU)
    quantizing.check_quantize(None, "someone/it", config, CPU)
    assert stored.device_map_options(None, None, config, CPU) == {"device_map": {"": "cpu"}}


@pytest.mark.parametrize("package", ["accelerate", "bitsandbytes"])
def test_a_package_that_is_missing(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(errors, "find_spec", lambda name: None if name == package else object())
    sentence = f"--quantize int4 on cpu needs the package {package}, .*pip install .*\\[big"
    with pytest.raises(ModelError, match=sentence):
        resolve_model("mini", LoadOptions(device="cpu", quantize="int4"))


@pytest.mark.parametrize(("quantize", "device"), [("int4", CPU), ("int4", CUDA), ("int8", CUDA)])
def test_bitsandbytes_has_no_random_weights(
    installed: None, quantize: str, device: torch.device, config: Any
) -> None:
    sentence = f"with --quantize int8 on a CPU alone; with --quantize {quantize} on {device.type},"
    instead = " add --device cpu or drop it$" if quantize == "int8" else " drop it$"
    with pytest.raises(UsageError, match=sentence + instead):
        quantizing.check_quantize(quantize, "it", config, device, random_weights=True)
    quantizing.check_quantize("int8", "it", config, CPU, random_weights=True)


@pytest.mark.parametrize("quantize", ["int8", "int4"])
def test_a_device_that_cannot(quantize: str, config: Any) -> None:
    with pytest.raises(UsageError, match="not on mps; add --device cpu"):
        quantizing.check_quantize(quantize, "mini", config, torch.device("mps"))
    with pytest.raises(UsageError, match="not on mps"):
        LoadOptions(device="mps", quantize=quantize)


def test_bytes_of_a_tensor_that_is_made_of_others() -> None:
    class Quantized:
        """It claims the size it had before."""

        nbytes = 1000

        def __init__(self) -> None:
            self.data, self.scale = torch.zeros(100, dtype=torch.int8), torch.zeros(10)

        def __tensor_flatten__(self) -> tuple[list[str], None]:
            return ["data", "scale"], None

    assert quantizing.tensor_bytes(Quantized()) == 100 + 40  # type: ignore[arg-type]
    assert quantizing.tensor_bytes(torch.zeros(3, 5)) == 60
