"""FLOPs by the paper's formula, and memory that is measured."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import DynamicCache
from transformers.cache_utils import LinearAttentionLayer

from dycoke_cli.engine.generate import PeakMemory, kv_bytes
from dycoke_cli.engine.memory.flops import decode_flops, paper_flops, prefill_flops

SIZES = {"hidden": 3, "mlp": 5}

UNCOMPRESSED = prefill_flops([12] * 3, hidden=3, mlp=5) + decode_flops(2, [12] * 3, hidden=3, mlp=5)


def test_a_choice_inside():
    counts = {"text": 2, "visual": 10, "read": [10, 10, 4], "attended": [10, 10, 4]}
    flops = paper_flops(**SIZES, **counts, generated=2)
    # A layer of n tokens: 4n·9 + 2n²·3 + 2n·3·5.
    whole, narrowed = 4 * 12 * 9 + 2 * 144 * 3 + 360, 4 * 6 * 9 + 2 * 36 * 3 + 180
    assert flops.prefill == 2 * whole + narrowed
    assert flops.decode == decode_flops(2, [12, 12, 6], hidden=3, mlp=5)
    assert flops.uncompressed == UNCOMPRESSED


GPUS = [torch.device("cuda", 0), torch.device("cuda", 1)]


def test_peaks_of_all_gpus_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    reset: list[Any] = []
    peaks = {GPUS[0]: 5_000, GPUS[1]: 7_000}
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", reset.append)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", peaks.__getitem__)
    peak = PeakMemory(GPUS, weights_bytes=10_000)
    assert reset == GPUS
    assert peak.read() == (2_000, 12_000)
    assert PeakMemory(GPUS[:1], weights_bytes=4_000).read() == (1_000, 5_000)


@pytest.mark.parametrize("device", ["cpu", "mps"])
def test_what_cannot_be_measured_is_none(device: str) -> None:
    peak = PeakMemory([torch.device(device)], weights_bytes=0)
    assert peak.read() == (None, None)


def test_states_of_linear_attention_are_held() -> None:
    cache = DynamicCache()
    linear = LinearAttentionLayer()
    linear.update_conv_state(torch.zeros(1, 6, 4))
    linear.update_recurrent_state(torch.zeros(1, 2, 3, 5))
    cache.layers = [linear]
    assert kv_bytes(cache) == (4 * (24 + 30), 4 * (24 + 30))
