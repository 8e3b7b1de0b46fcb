"""`--quantize`: which package gets which arguments, what stays whole, what is refused.

bitsandbytes isn't installed where the tests run: a stand-in notes what it is given. 8 bits on a CPU
are in `test_linear_layers.py`.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForImageTextToText

from dycoke_cli import extras
from dycoke_cli.errors import ModelError, UsageError
from dycoke_cli.kernels import quantize as quantizing
from dycoke_cli.models import load as load_module
from dycoke_cli.models.catalog import published
from dycoke_cli.models.load import load
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.models.resolve import choose
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


class Noted:
    """Stands in for a quantization config; notes its arguments."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.args, self.kwargs = args, kwargs


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """All packages seem to be there."""
    monkeypatch.setattr(extras, "find_spec", lambda name: object())
    monkeypatch.setattr(quantizing, "BitsAndBytesConfig", Noted)


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What reaches `from_pretrained`; the model itself is loaded as it is."""
    seen: dict[str, Any] = {}
    stock = AutoModelForImageTextToText.from_pretrained

    def from_pretrained(where: str, **kwargs: Any) -> Any:
        seen.update(kwargs)
        return stock(where, **{k: v for k, v in kwargs.items() if k not in NOT_HERE})

    monkeypatch.setattr(AutoModelForImageTextToText, "from_pretrained", from_pretrained)
    return seen


NOT_HERE = ("device_map", "quantization_config")


@pytest.mark.parametrize("family", BESIDE)
def test_the_vision_side_and_the_output_layer_stay_whole(family: str) -> None:
    config = MAKERS[family]()[0].config
    config.dtype = torch.float16
    assert set(quantizing.kept_whole(config)) == BESIDE[family]
    assert config.dtype == torch.float16  # the configuration is left as it was


def test_of_a_published_model_the_language_model_alone_is_quantized() -> None:
    config = AutoConfig.for_model(**published("qwen2.5-vl-3b").config)
    assert set(quantizing.kept_whole(config)) == {"model.visual", "lm_head"}


def test_int8_on_a_cpu_needs_no_package(
    given: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    loaded = load("mini", device="cpu", quantize="int8")
    assert not given.keys() & set(NOT_HERE)
    assert loaded.dtype == "int8"


def test_a_quantized_model_is_another_model() -> None:
    whole, quantized = (
        choose("mini", LoadOptions(device="cpu", quantize=quantize)).describe()
        for quantize in (None, "int8")
    )
    assert quantized == whole | {"dtype": f"int8/{whole['dtype']}"} != whole
    options = LoadOptions(device="cpu", quantize="int8", dtype="float32")
    assert choose("mini", options).describe()["dtype"] == "int8/float32"


def test_int4_on_a_cpu_is_bitsandbytes(installed: None, given: dict[str, Any]) -> None:
    moved: list[object] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.Module, "to", lambda self, *args, **kw: moved.append(args) or self)
        loaded = load("mini", device="cpu", quantize="int4")
    assert given["quantization_config"].kwargs == {
        "load_in_4bit": True,
        "bnb_4bit_quant_type": "nf4",
        "bnb_4bit_use_double_quant": True,
        "bnb_4bit_compute_dtype": torch.bfloat16,
        "llm_int8_skip_modules": quantizing.kept_whole(loaded.model.config),
    }
    # Such a model can't be moved: it is put in its place while it is loaded.
    assert given["device_map"] == {"": "cpu"}
    assert moved == []


def test_int8_on_cuda_is_bitsandbytes(installed: None) -> None:
    config = MAKERS["llava_onevision"]()[0].config
    made = quantizing.quantization("int8", config)
    assert made.kwargs == {
        "load_in_8bit": True,
        "llm_int8_skip_modules": quantizing.kept_whole(config),
    }
    assert load_module.placement(None, "int8", config, CUDA) == {"device_map": {"": "cuda:0"}}
    assert load_module.placement("auto", "int8", config, CUDA) == {"device_map": "auto"}


def test_unquantized_models_are_moved_by_us() -> None:
    config = MAKERS["llava_onevision"]()[0].config
    assert load_module.placement(None, None, config, CUDA) == {}
    assert not quantizing.stored_quantized(config)


def test_a_checkpoint_that_is_quantized_already(installed: None) -> None:
    config = MAKERS["llava_onevision"]()[0].config
    config.quantization_config = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    with pytest.raises(UsageError, match="someone/it is stored with quantized weights; drop --qua"):
        quantizing.check_quantize("int8", "someone/it", config, CPU)
    quantizing.check_quantize(None, "someone/it", config, CPU)
    assert load_module.placement(None, None, config, CPU) == {"device_map": {"": "cpu"}}


@pytest.mark.parametrize("package", ["accelerate", "bitsandbytes"])
def test_a_package_that_is_missing(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == package else object())
    sentence = f"--quantize int4 on cpu needs the package {package}, .*pip install .*'acc"
    with pytest.raises(ModelError, match=sentence):
        choose("mini", LoadOptions(device="cpu", quantize="int4"))


@pytest.mark.parametrize(("quantize", "device"), [("int4", CPU), ("int4", CUDA), ("int8", CUDA)])
def test_bitsandbytes_has_no_random_weights(
    installed: None, quantize: str, device: torch.device
) -> None:
    config = MAKERS["llava_onevision"]()[0].config
    sentence = f"with --quantize int8 on a CPU alone; with --quantize {quantize} on {device.type},"
    with pytest.raises(UsageError, match=sentence):
        quantizing.check_quantize(quantize, "it", config, device, random_weights=True)
    quantizing.check_quantize("int8", "it", config, CPU, random_weights=True)


@pytest.mark.parametrize("quantize", ["int8", "int4"])
def test_a_device_that_cannot(quantize: str) -> None:
    config = MAKERS["llava_onevision"]()[0].config
    with pytest.raises(UsageError, match="not on mps; add --device cpu"):
        quantizing.check_quantize(quantize, "mini", config, torch.device("mps"))
    with pytest.raises(UsageError, match="not on mps"):
        LoadOptions(device="mps", quantize=quantize)


def test_an_unknown_number_of_bits() -> None:
    with pytest.raises(UsageError, match="quantize must be int8 or int4, not 'int3'"):
        load("mini", quantize="int3")


def test_bytes_of_a_tensor_that_is_made_of_others() -> None:
    class Quantized:
        """It claims the size it had before."""

        nbytes = 1000

        def __init__(self) -> None:
            self.data, self.scale = torch.zeros(100, dtype=torch.int8), torch.zeros(10)

        def __tensor_flatten__(self) -> tuple[list[str], None]:
            return ["data", "scale"], None

    assert quantizing.held_bytes(Quantized()) == 100 + 40  # type: ignore[arg-type]
    assert quantizing.held_bytes(torch.zeros(3, 5)) == 60
