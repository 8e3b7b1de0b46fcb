"""What a CPU with AMX gets: stock attention, packed layers all the same, and a word about int8."""

from __future__ import annotations

from typing import Literal

import pytest

from dycoke_cli import VideoSession, load
from dycoke_cli.kernels import replacing
from tests.marks import EXTENDED
from tests.natural import Pictures, pan


@pytest.mark.parametrize(
    ("amx", "kernels"),
    [
        (True, "fast"),
        (False, "fast"),
        pytest.param(True, "stock", marks=EXTENDED),
        pytest.param(False, "stock", marks=EXTENDED),
    ],
)
def test_int8_says_where_it_is_slower(
    amx: bool, kernels: Literal["fast", "stock"], monkeypatch: pytest.MonkeyPatch
) -> None:
    """amx: whether this processor seems to have tiles."""
    more = ["amx_bf16"] if amx else []
    monkeypatch.setattr(replacing, "instructions", lambda: ["avx2", "avx512_bf16", *more])
    loaded = load("mini", device="cpu", quantize="int8", kernels=kernels)
    assert (replacing.INT8_IS_SLOWER in loaded.warnings) is amx
    if amx:
        answer = VideoSession(loaded, Pictures.of(pan(1))).ask("Why?", max_tokens=1)
        assert replacing.INT8_IS_SLOWER in answer.to_dict()["warnings"]
        assert load("mini", device="cpu", kernels=kernels).warnings == ()
