"""Peak memory: of all GPUs that a model works on, and of this process on a CPU."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from dycoke_cli.engine import memory
from dycoke_cli.engine.memory import PeakMemory

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


def test_on_a_cpu_it_is_the_rise_of_this_process() -> None:
    peak = PeakMemory([torch.device("cpu")], weights_bytes=0)
    if peak.read() == (None, None):
        pytest.skip("resident memory can't be measured here")
    block = torch.ones(40_000_000, dtype=torch.uint8)
    working, total = peak.read()
    assert working is not None
    assert total is not None
    assert 40_000_000 <= working < 60_000_000
    assert total > working
    del block


def test_what_cannot_be_measured_is_none() -> None:
    assert PeakMemory([torch.device("mps")], weights_bytes=0).read() == (None, None)


def test_where_nothing_rises_nothing_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    # As Linux counts them, the peak may come out below what was there at the start.
    monkeypatch.setattr(memory, "_reset_resident_peak", lambda: True)
    monkeypatch.setattr(memory, "_status_bytes", {"VmRSS": 5_000, "VmHWM": 4_000}.__getitem__)
    assert PeakMemory([torch.device("cpu")], weights_bytes=0).read() == (0, 5_000)
