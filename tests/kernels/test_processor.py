"""What a CPU with AMX gets: stock attention, packed layers all the same, and a word about int8."""

from __future__ import annotations

import pytest

from dycoke_cli import DyCoke, VideoSession, load
from dycoke_cli.kernels import choice, replacing
from dycoke_cli.kernels.attention import DECODE_ONLY, NAME
from dycoke_cli.kernels.linear import Bfloat16Linear, can_pack
from dycoke_cli.stock.attention import SDPA
from dycoke_cli.stock.private_api import attention_implementation
from tests.natural import Pictures, pan


@pytest.fixture(params=[True, False], ids=["AMX", "no AMX"])
def amx(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether this processor seems to have tiles."""
    more = ["amx_bf16"] if request.param else []
    monkeypatch.setattr(choice, "instructions", lambda: ["avx2", "avx512_bf16", *more])
    return request.param


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_attention_is_ours_where_there_are_no_tiles(dtype: str, amx: bool) -> None:
    loaded = load("mini", device="cpu", dtype=dtype)
    in_bfloat16 = SDPA if amx else NAME
    for part in loaded.model, loaded.model.get_decoder():
        expected = in_bfloat16 if dtype == "bfloat16" else DECODE_ONLY
        assert attention_implementation(part) == expected
    stock = load("mini", device="cpu", dtype=dtype, kernels="stock")
    assert attention_implementation(stock.model) == SDPA


@pytest.mark.skipif(not can_pack(), reason="this processor has no products in bfloat16 to pack for")
def test_linear_layers_are_packed_in_either_case(
    amx: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replacing, "MIN_PACKED_WEIGHTS", 8)
    model = load("mini", device="cpu", dtype="bfloat16").model
    assert any(isinstance(part, Bfloat16Linear) for part in model.modules())


@pytest.mark.parametrize("kernels", ["fast", "stock"])
def test_int8_says_where_it_is_slower(amx: bool, kernels: str) -> None:
    loaded = load("mini", device="cpu", quantize="int8", kernels=kernels)
    answer = VideoSession(loaded, Pictures.of(pan(2))).ask("Why?", DyCoke(), max_new_tokens=1)
    assert (choice.INT8_IS_SLOWER in answer.to_dict()["warnings"]) is amx
    assert load("mini", device="cpu", kernels=kernels).warnings == ()
