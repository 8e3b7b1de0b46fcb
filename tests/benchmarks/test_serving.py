"""`python -m benchmarks.serving`: what it measures in which order, and the table of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.serving import measuring
from benchmarks.serving.__main__ import RAW
from benchmarks.serving.load import Answered, Load, body, data_url
from benchmarks.serving.measuring import Course
from benchmarks.serving.rows import read_rows
from benchmarks.serving.table import BASELINE, cells, circumstances, table


def row(spec: str, run: int, seconds: float, **other: Any) -> dict[str, Any]:
    return {
        "server": "vllm", "model": "mini", "frames": 32, "dtype": "auto", "gpu": False,
        "spec": spec, "at_once": 2, "requests": 4, "tokens": 3, "run": run, "seconds": seconds,
        "ttft_s": [0.1, 0.2, 0.3, 2.0], "tpot_s": [0.01, 0.02, 0.03, 0.2],
        "prompt_tokens": 140, "generated": 12, "selection_s": 0.0125, "commit": "abc", "load": 1.0,
        "machine": "2 cores of X", "threads": "1", "versions": "vllm 1", **other,
    }  # fmt: skip


def test_the_table_has_medians_and_how_far_runs_are_apart() -> None:
    rows = [row("none", run, took) for run, took in enumerate((2.0, 1.0, 9.0))]
    rows += [row("evs", run, took) for run, took in enumerate((4.0, 1.0, 5.0))]
    rows += [row("ttm", run, took) for run, took in enumerate((1.0, 1.0, 5.0))]
    cell = cells(rows)[2, "none"]
    assert (cell.runs, cell.requests_s, cell.tokens_s) == (3, 2.0, 6.0)
    assert (cell.slowest_s, cell.fastest_s) == (4 / 9, 4.0)
    assert (cell.ttft_s, cell.ttft_p95_s) == (0.25, 2.0)
    assert (cell.tpot_s, cell.tpot_p95_s) == (0.025, 0.2)
    lines = table(rows).splitlines()
    assert (
        lines[2]
        == "| 2 | `none` | 140 | 2.00 (0.44 to 4.00) | 1.00 | 6.0 | 0.25 | 2.00 | 25 | 200 | 12.5 |"
    )
    assert lines[3].startswith("| 2 | `evs` | 140 | 1.00 (0.80 to 4.00) | 0.50 |")
    assert "32 frames, 3 new tokens" in circumstances(rows)
    assert "4 requests at 2 at once; medians of 3 runs" in circumstances(rows)


@pytest.mark.parametrize("server", ["dycoke", "vllm"])
def test_an_interrupted_run_measures_only_what_is_missing(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Server:
        url = "http://nowhere"

        def __init__(self, *_: Any) -> None:
            started.append(self)

        def __enter__(self) -> Server:
            return self

        def __exit__(self, *_: object) -> None:
            pass

    def give(url: str, load: Load, frames: np.ndarray, *, ignore_eos: bool) -> Answered:
        assert ignore_eos == (course.server == "vllm")
        if load.requests == course.fewest:  # else it warms up
            given.append(load.spec)
        if len(given) == stops_at:
            raise KeyboardInterrupt
        return Answered(1.0, (0.5,) * load.requests, (0.1,) * load.requests, 140, 8)

    started: list[Server] = []
    given: list[str] = []
    specs, loads = ("none", "evs"), {"at_once": (1,), "fewest": 5, "runs": 2}
    course = Course("mini", specs, **loads, frames=2, server=server)
    monkeypatch.setattr(measuring, f"{server.title()}Server", Server)
    monkeypatch.setattr(measuring, "give", give)
    monkeypatch.setattr(measuring, "selection_s", lambda *_: 0.0)
    monkeypatch.setattr(measuring, "_circumstances", lambda _: {})
    file = tmp_path / "rows.jsonl"
    stops_at = 3
    with pytest.raises(KeyboardInterrupt):
        measuring.measure(course, file)
    stops_at = -1
    measuring.measure(course, file)
    assert given == ["none", "evs", "evs", "evs", "none"]
    measuring.measure(course, file)
    assert len(started) == 2, "nothing was left to do"
    assert len(file.read_text().splitlines()) == 4


def test_a_request_is_what_the_server_takes() -> None:
    url = data_url(np.zeros((3, 8, 8, 3), np.uint8))
    assert url.startswith("data:video/jpeg;base64,")
    assert url.count(",") == 3
    request = body(url, 3, "What?", "evs", 16)
    assert request["extra_body"]["mm_processor_kwargs"] == {"dycoke": "evs"}
    assert request["extra_body"]["media_io_kwargs"]["video"]["frames_indices"] == [0, 1, 2]
    assert "mm_processor_kwargs" not in body(url, 3, "What?", None, 16)["extra_body"]


def test_no_method_is_slower_than_none_as_the_page_says() -> None:
    for rows in read_rows(RAW).values():
        found = cells(rows)
        assert {at_once for at_once, _ in found} == {1, 8, 32}
        for (at_once, _), cell in found.items():
            assert cell.requests_s >= found[at_once, BASELINE].requests_s
