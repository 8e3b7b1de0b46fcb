"""Where the time of a stage goes: what counts as what, and that nothing is counted twice."""

from __future__ import annotations

import time
from typing import Any

import pytest
import torch
from torch import nn

from benchmarks import stages
from dycoke_cli import load


class Slow(nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        time.sleep(0.05)
        return super().forward(x)


class OwnAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q_proj, self.o_proj = Slow(2, 2), Slow(2, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        time.sleep(0.02)
        return self.o_proj(self.q_proj(x))


def test_a_module_counts_without_those_inside_it() -> None:
    model = nn.Sequential(OwnAttention(), nn.LayerNorm(2), nn.SiLU())
    with stages.Inside(model) as inside:
        model(torch.ones(1, 2))
    assert 0.1 <= inside.seconds["linear layers"] < 0.15
    assert 0.02 <= inside.seconds["attention"] < 0.045
    assert 0 < inside.seconds["norms"] < 0.01
    assert not any(module._forward_hooks for module in model.modules())


def test_the_kinds_of_a_stock_model() -> None:
    model = load("mini", device="cpu", dtype="float32").model
    kinds: dict[Any, set[str]] = {}
    for module in model.modules():
        kinds.setdefault(stages.kind_of(module), set()).add(type(module).__name__)
    assert "Qwen2Attention" in kinds["attention"]
    assert {"LayerNorm", "Qwen2RMSNorm"} <= kinds["norms"]
    assert all("Linear" in name for name in kinds["linear layers"])
    assert kinds["activations"]


@pytest.mark.slow
def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    stages.main("mini", 4, "float32", write=False)
    text = capsys.readouterr().out
    table = text[text.rindex("|---|") :].split("\n\n")[0]
    rows = [row for row in table.splitlines() if row.startswith("| ")]
    assert len(rows) == 2 * 2 * len(stages.METHODS)
    for row in rows:
        shares = [int(cell.strip(" %")) for cell in row.strip("|").split("|")[2:]]
        assert abs(sum(shares) - 100) <= 3
        assert all(share >= 0 for share in shares)
