"""What a CPU with AMX gets: stock attention, packed layers all the same, and a word about int8."""

from __future__ import annotations

import pytest

from dycoke_cli import DyCoke, VideoSession, load
from dycoke_cli.kernels import replacing
from tests.natural import Pictures, pan


@pytest.fixture(params=[True, False], ids=["AMX", "no AMX"])
def amx(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether this processor seems to have tiles."""
    more = ["amx_bf16"] if request.param else []
    monkeypatch.setattr(replacing, "instructions", lambda: ["avx2", "avx512_bf16", *more])
    return request.param


@pytest.mark.parametrize("kernels", ["fast", "stock"])
def test_int8_says_where_it_is_slower(amx: bool, kernels: str) -> None:
    loaded = load("mini", device="cpu", quantize="int8", kernels=kernels)
    answer = VideoSession(loaded, Pictures.of(pan(2))).ask("Why?", DyCoke(), max_tokens=1)
    assert (replacing.INT8_IS_SLOWER in answer.to_dict()["warnings"]) is amx
    assert load("mini", device="cpu", kernels=kernels).warnings == ()
