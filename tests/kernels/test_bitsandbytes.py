"""`--quantize` by the real bitsandbytes, whose kernels for CPUs compute here."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from dycoke_cli import DyCoke, VideoSession
from dycoke_cli.kernels import quantize as quantizing
from dycoke_cli.models import load as from_pretrained
from dycoke_cli.models import load as load_module
from dycoke_cli.models.load import LoadedModel, load
from dycoke_cli.models.load_memory import weight_bytes
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.models.resolve import resolve_model
from tests.families.tiny import make
from tests.natural import Pictures, pan

missing = [name for name in ("accelerate", "bitsandbytes") if find_spec(name) is None]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.extended,
    pytest.mark.skipif(bool(missing), reason=f"{missing} (extra big) isn't installed"),
]

# NormalFloat in 4 bits, from the paper of QLoRA (appendix E).
NF4 = torch.tensor([
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
    -0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725,
    0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941,
    0.7229568362236023, 1.0,
])  # fmt: skip


def forms() -> Any:
    """The module of its layers, which takes seconds to import: `make test` runs none of this."""
    return import_module("bitsandbytes.nn")


@pytest.fixture(scope="module")
def whole() -> LoadedModel:
    return load("mini", device="cpu", kernels="stock")


@pytest.fixture(scope="module")
def int4() -> LoadedModel:
    return load("mini", device="cpu", quantize="int4")


@pytest.fixture
def int8(monkeypatch: pytest.MonkeyPatch) -> Iterator[LoadedModel]:
    """As on CUDA; elsewhere `--quantize int8` is ours."""
    with monkeypatch.context() as patch:
        for module in (from_pretrained, load_module):
            patch.setattr(module, "by_bitsandbytes", lambda *_: True)
        yield load("mini", device="cpu", quantize="int8")


def rounded(weight: torch.Tensor) -> torch.Tensor:
    """Weights as NF4 has them: each block of 64 in units of its largest."""
    blocks = weight.float().view(-1, 64)
    largest = blocks.abs().amax(1, keepdim=True)
    nearest = (blocks / largest)[..., None].sub(NF4).abs().argmin(-1)
    return (NF4[nearest] * largest).view(weight.shape)


def answer(loaded: LoadedModel) -> Any:
    return VideoSession(loaded, Pictures.of(pan(4))).ask("What happens?", DyCoke(prune_layer=2))


def test_a_layer_in_4_bits_by_hand(whole: LoadedModel, int4: LoadedModel) -> None:
    name = "model.language_model.layers.0.mlp.up_proj"
    before, after = (one.model.get_submodule(name) for one in (whole, int4))
    tokens = torch.randn(5, before.in_features, generator=torch.Generator().manual_seed(0))
    expected = functional.linear(tokens, rounded(before.weight))
    error = (after(tokens) - expected).norm() / expected.norm()
    # The scales are in 8 bits themselves, and the product is one of bfloat16.
    assert error < 0.02
    assert (
        error < 0.3 * (before(tokens.to(before.weight.dtype)) - expected).norm() / expected.norm()
    )


@pytest.mark.parametrize(("bits", "kind"), [("int4", "Linear4bit"), ("int8", "Linear8bitLt")])
def test_the_decoder_alone_is_quantized(
    bits: str, kind: str, whole: LoadedModel, request: pytest.FixtureRequest
) -> None:
    loaded: LoadedModel = request.getfixturevalue(bits)
    form = getattr(forms(), kind)
    quantized = {name for name, part in loaded.model.named_modules() if isinstance(part, form)}
    decoder = whole.model.get_decoder()
    assert len(quantized) == sum(isinstance(part, torch.nn.Linear) for part in decoder.modules())
    assert all(name.startswith("model.language_model.layers.") for name in quantized)
    tower = zip(
        whole.model.model.vision_tower.parameters(),
        loaded.model.model.vision_tower.parameters(),
        strict=True,
    )
    assert all(one.equal(other) for one, other in tower)
    assert answer(loaded).model.dtype == bits
    assert answer(loaded).answer == answer(whole).answer


def test_predicted_and_actual_bytes(int4: LoadedModel) -> None:
    answer(int4)  # on some CPUs the first question packs the weights anew
    quantized = [one for one in int4.model.modules() if isinstance(one, forms().Linear4bit)]
    numbers = sum(one.in_features * one.out_features for one in quantized)
    others = sum(
        tensor.nbytes
        for tensor in (*int4.model.parameters(), *int4.model.buffers())
        if not isinstance(tensor, forms().Params4bit)
    )
    scales = int4.weights_bytes - others - numbers // 2
    # A byte or two for the scale of each 64, and tables of 16 and 256 numbers for each layer.
    assert numbers / 64 < scales <= numbers / 32 + len(quantized) * 4 * (16 + 256 + 1)
    predicted = weight_bytes(resolve_model("mini", LoadOptions(device="cpu", quantize="int4")))
    assert predicted is not None
    assert predicted.loaded == pytest.approx(int4.weights_bytes, rel=0.02)


def test_layers_whose_shape_the_kernels_do_not_take(tmp_path: Path) -> None:
    """48 and 32 inputs, where one scale is of 64."""
    model, processor = make("qwen2_5_vl", torch.float32)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    kept = set(quantizing.skipped_modules(model.config, "int4"))
    layers = [n for n, p in model.get_decoder().named_modules() if isinstance(p, torch.nn.Linear)]
    assert {f"model.language_model.{name}" for name in layers} < kept
    assert answer(load(str(tmp_path), device="cpu", quantize="int4")).tokens.generated > 0
