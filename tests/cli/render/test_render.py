"""Numbers and panels: what people read, checked against cases worked out by hand."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console, RenderableType

from dycoke_cli.answer.answer import (
    Answer,
    Bytes,
    Decode,
    Flops,
    ReportedFrames,
    ReportedModel,
    Seconds,
    Tokens,
)
from dycoke_cli.cli.render import units
from dycoke_cli.cli.render.panel import comparison, panel, saving, summary
from tests.documents import example

ANSWER = example(
    Answer,
    answer="a red circle",
    model=example(ReportedModel, name="llava"),
    method={
        "name": "dycoke",
        "ttm": True,
        "merge_ratio": 0.7,
        "kv_prune": True,
        "prune_ratio": 0.7,
        "prune_layer": 3,
    },
    frames=ReportedFrames(32, ()),
    tokens=example(
        Tokens,
        visual=6272,
        visual_kept=2979,
        visual_active_in_decode=893.25,
        visual_read_per_step=(3 * 2979 + 25 * 893.25) / 28,
    ),
    decode=example(Decode, steps=1, choices_renewed=1, tokens_evicted=2086, tokens_recalled=0),
    flops=example(Flops, prefill=17.4e12, decode=0.1e12, uncompressed=41.4e12),
    seconds=example(
        Seconds,
        load=61.5,
        video_decode=0.25,
        vision=1.5,
        prefill=2.0,
        first_token=3.8,
        decode=0.06,
        total=12.25,
    ),
    tokens_per_second=16.66,
    bytes=example(
        Bytes,
        weights=16_060_000_000,
        kv_cache=171_000_000,
        kv_active=99_900_000,
        read_per_token=15_200_000_000,
        peak_working=2_400_000_000,
    ),
)

UNPRUNED = {"visual_active_in_decode": 2979, "visual_read_per_step": 2979}
BASELINE = {"visual_kept": 6272, "visual_active_in_decode": 6272, "visual_read_per_step": 6272}


def printed(renderable: RenderableType) -> str:
    stream = io.StringIO()
    Console(file=stream, width=120, color_system=None).print(renderable)
    return stream.getvalue()


def changed(**changes: dict[str, Any]) -> Answer:
    """The answer above, with some keys of its parts changed."""
    method = ANSWER.method | changes.pop("method", {})
    parts = {name: replace(getattr(ANSWER, name), **values) for name, values in changes.items()}
    return replace(ANSWER, method=method, **parts)


def test_panel_line_by_line() -> None:
    lines = [line.strip("│ \n") for line in printed(panel(ANSWER, 70.0)).splitlines()]
    assert lines[0].startswith("╭─ llava · DyCoke · K=0.7 · P=0.7 L=3 ─")
    assert lines[1:-1] == [
        "Visual tokens  6,272 from 32 frames → 2,979 at prefill (47 %)",
        "Attended       1,117 (18 %) per step, mean over layers; 893 (14 %) in pruned",
        "KV selection   1 update in 1 step, 2,086 evicted, 0 recalled",
        "LLM FLOPs      17.5 T of 41.4 T baseline (42 %), by the paper's formula",
        "Time           70.0 s: start 66.4 · vision 1.5 · prefill 2.0 · decode 0.1",
        "Speed          TTFT 3.80 s, video included · 16.7 tokens/s (253 GB/s)",
        "Memory         KV cache 171 MB (99.9 MB of it in use) · peak 2.4 GB",
        "Loaded         weights 16.1 GB in 61.5 s · video 0.25 s",
        "",
        "53 % of visual tokens dropped; decode attends to 18 % of them (14 % in pruned layers);"
        " LLM FLOPs −58 % (paper's",
        "formula).",
    ]


@pytest.mark.parametrize(
    ("tokens", "line"),
    [
        ({}, "4.00 s · 53 % of 6,272 visual tokens dropped · --stats shows more"),
        (
            {"visual_kept": 6272, "visual_read_per_step": 1568.0},
            "4.00 s · decode attends to 25 % of 6,272 visual tokens · --stats shows more",
        ),
        (BASELINE, "4.00 s · no visual tokens dropped · --stats shows more"),
        (
            BASELINE | {"visual_read_per_step": None},
            "4.00 s · no visual tokens dropped · --stats shows more",
        ),
    ],
)
def test_the_line_below_an_answer(tokens: dict[str, Any], line: str) -> None:
    assert summary(changed(tokens=tokens), 4.0) == line


def test_panel_is_no_wider_than_a_terminal_of_80_columns() -> None:
    stream = io.StringIO()
    Console(file=stream, width=80, color_system=None).print(panel(ANSWER))
    table = stream.getvalue().splitlines()[1:9]
    # No row of the table is folded.
    assert [line.split()[1] for line in table] == [
        *("Visual", "Attended", "KV", "LLM", "Time", "Speed", "Memory", "Loaded")
    ]


@pytest.mark.parametrize(
    ("waited_s", "warm_up_s", "time"),
    [
        (3.75, 0, "3.75 s: start 0.19 · vision 1.50 · prefill 2.00 · decode 0.06"),
        (3.56, 0, "3.56 s: vision 1.50 · prefill 2.00 · decode 0.06"),
        (100, 0, "100 s: start 96 · vision 2 · prefill 2"),
        (None, 0, "65.3 s: start 61.8 · vision 1.5 · prefill 2.0 · decode 0.1"),
        (
            9.56,
            1.25,
            "9.56 s: start 4.75 · warm-up 1.25 · vision 1.50 · prefill 2.00 · decode 0.06",
        ),
    ],
)
def test_panel_has_what_was_waited_for(waited_s: float | None, warm_up_s: float, time: str) -> None:
    assert f"Time           {time}  " in printed(panel(ANSWER, waited_s, warm_up_s=warm_up_s))


def test_panel_of_a_model_with_other_layers() -> None:
    unknown = changed(tokens=UNPRUNED | {"visual_read_per_step": None})
    assert "2,979 per step; fewer in layers with a sliding window" in printed(panel(unknown))
    assert "attends" not in saving(unknown)
    assert ["–", "–", "–"] in table_rows(unknown, ANSWER).values()


def test_panel_of_another_method() -> None:
    tokens = {**BASELINE, "visual_active_in_decode": 3136, "visual_read_per_step": 3360}
    method = {"name": "fastv", "prune_ratio": 0.5, "prune_layer": 2}
    text = printed(panel(replace(changed(tokens=tokens), method=method)))
    assert "llava · FastV · P=0.5 L=2" in text
    assert "KV selection" not in text
    assert "Decode attends to 54 % of them (50 % in pruned layers)" in text


def test_panel_without_what_was_not_measured() -> None:
    text = printed(panel(changed(bytes={"read_per_token": None})))
    assert "16.7 tokens/s " in text
    assert "B/s" not in text
    answer = changed(bytes={"peak_working": None}, method={"kv_prune": False})
    text = printed(panel(replace(answer, tokens_per_second=None)))
    assert "peak" not in text
    assert "tokens/s" not in text
    assert "P=" not in text


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"tokens": BASELINE, "method": {"name": "none"}},
            "No visual tokens dropped: this is the baseline.",
        ),
        (
            {"tokens": UNPRUNED, "method": {"name": "none"}},  # thinned by a pool or a cap
            "53 % of visual tokens dropped; LLM FLOPs −58 % (paper's formula).",
        ),
        (
            {"tokens": BASELINE},
            "No visual tokens dropped.",
        ),
        (
            {"tokens": UNPRUNED},
            "53 % of visual tokens dropped; LLM FLOPs −58 % (paper's formula).",
        ),
        (  # the prompt was read twice, to choose by its attention
            {"tokens": UNPRUNED, "flops": {"prefill": 42e12, "decode": 1.35e12}},
            "53 % of visual tokens dropped; LLM FLOPs +5 % (paper's formula).",
        ),
        (
            {"tokens": {"visual_kept": 6272}, "method": {"name": "random"}},
            "Decode attends to 18 % of them (14 % in pruned layers); LLM FLOPs −58 % (paper's "
            "formula).",
        ),
    ],
)
def test_saving_in_a_sentence(changes: dict[str, dict[str, Any]], sentence: str) -> None:
    assert saving(changed(**changes)) == sentence


def test_model_and_answer_are_text_not_markup() -> None:
    bad = replace(changed(model={"name": "[red]a[/red]\x1b[2J"}), answer="[b]\x07 x")
    assert "[red]a[/red]\\x1b[2J" in printed(panel(bad))
    assert "[b]\\x07 x" in printed(comparison(bad, bad))


def test_comparison_row_by_row() -> None:
    other = changed(
        method={"name": "none"},
        tokens=BASELINE,
        flops={"prefill": 41.3e12},
        seconds={"vision": 3.0, "prefill": 8.0, "first_token": 11.3, "decode": 0.6, "total": 12.0},
    )
    rows = table_rows(ANSWER, other)
    assert rows["Answer"] == ["a red circle", "a red circle", "identical"]
    assert rows["Visual tokens at prefill"] == ["2,979", "6,272", "47 %"]
    assert rows["Visual tokens attended per step"] == ["1,116.7", "6,272", "18 %"]
    assert rows["Vision"] == ["1.50 s", "3.00 s", "50 %"]
    assert rows["Prefill"] == ["2.00 s", "8.00 s", "25 %"]
    assert rows["TTFT"] == ["3.80 s", "11.3 s", "34 %"]
    assert rows["Decode"] == ["0.060 s", "0.60 s", "10 %"]
    assert rows["End to end"] == ["12.2 s", "12.0 s", "102 %"]
    assert rows["LLM FLOPs (paper's formula)"] == ["17.5 T", "41.4 T", "42 %"]


def test_a_video_that_was_encoded_once_counts_for_both() -> None:
    other = changed(
        seconds={"video_decode": 0.0, "vision": 0.0, "first_token": 8.0, "decode": 1, "total": 9.0}
    )
    rows = table_rows(ANSWER, other)
    assert rows["Vision"] == ["1.50 s", "1.50 s", "100 %"]
    # 0.25 s of decoding and 1.5 s of encoding.
    assert rows["TTFT"] == ["3.80 s", "9.75 s", "39 %"]
    assert rows["End to end"][1:] == ["10.8 s", "114 %"]
    said = " ".join(printed(comparison(ANSWER, other)).split())
    assert said.endswith("The video was encoded once, for both.")
    assert "encoded once" not in printed(comparison(ANSWER, ANSWER))


def table_rows(left: Answer, right: Answer) -> dict[str, list[str]]:
    return {
        cells[0]: cells[1:]
        for line in printed(comparison(left, right)).splitlines()
        for cells in [re.split(r" {2,}", line.strip())]
    }


@pytest.mark.parametrize(
    ("shown", "texts"),
    [
        (units.size, {0: "0 B", 999: "999 B", 1000: "1 kB", 1536: "1.54 kB", 99_960: "100 kB",
                      999_600: "1 MB", 1.79e9: "1.79 GB", 146.4e9: "146 GB", 5e15: "5000 TB"}),
        (units.seconds, {0: "0 ms", 0.0994: "99 ms", 0.1: "0.10 s", 9.99: "9.99 s", 10: "10.0 s",
                         75.26: "75.3 s"}),
    ],
)  # fmt: skip
def test_sizes_and_seconds(shown: Any, texts: dict[float, str]) -> None:
    assert {value: shown(value) for value in texts} == texts


@pytest.mark.parametrize(
    ("shown", "values", "texts"),
    [
        (units.size, [1.45e9, 690e6, None], ["1.45 GB", "0.69 GB", "–"]),
        (units.size, [371e6, 8e4], ["371 MB", "0.08 MB"]),
        (units.seconds, [12.3, 0.053, 1.2], ["12.3 s", "0.053 s", "1.20 s"]),
        (units.seconds, [0.053, 0.0004], ["53 ms", "0 ms"]),
        (units.flops, [40.8e12, 834e9], ["40.8 T", "0.834 T"]),
        (units.size, [None, None], ["–", "–"]),
    ],
)
def test_a_column_has_one_unit(shown, values, texts) -> None:
    assert units.column(values, shown) == texts
    assert units.column(["kept", 5e9], units.size) == ["kept", "5 GB"]


def test_counts_and_shares() -> None:
    assert [units.count(value) for value in (7, 1234.0, 66.5)] == ["7", "1,234", "66.5"]
    assert [units.share(*pair) for pair in ((1, 3), (0, 5), (0, 0))] == ["33 %", "0 %", "–"]
    assert units.flops(980) == "980"
