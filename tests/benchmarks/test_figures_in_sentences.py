"""Figures that sentences take from tables, without an error by which other tests find them."""

from __future__ import annotations

import json
import lzma
import re
from collections.abc import Sequence

import pytest

from benchmarks.kept_tables import read_table
from benchmarks.page import ROOT
from benchmarks.raw_answers import DATA
from tests.pages import on_one_line

Table = Sequence[Sequence[str]]


def table(page: str, after: str, heading: str = "| ") -> Table:
    """The lines of the first table with such a heading after a place in a page."""
    text = (ROOT / page).read_text(encoding="utf-8").partition(after)[2]
    lines = text[text.index(f"\n{heading}") :].lstrip("\n").partition("\n\n")[0].splitlines()
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in lines if line[0] == "|"
    ]


def cells(rows: Table, row: str) -> Sequence[str]:
    """The cells of the row of that name."""
    (found,) = (one for one in rows if one[0] == row)
    return found


def number(cell: str) -> float:
    """What stands first in a cell."""
    return float(cell.split()[0].replace("−", "-").replace(",", ""))


def test_the_cost_of_settings_for_a_llava_onevision() -> None:
    means = {(row[0], row[1]): row[-2] for row in read_table("methods-seeds")}
    methods = on_one_line("docs/methods.md")
    base, ttm = means["baseline", ""], -number(means["ttm", "47 %"])
    assert f"64 tokens per frame, {base} correct uncompressed" in methods
    assert f"it costs the small models {ttm} points on average" in methods
    own = -number(means["dycoke-plus", "25 %"])
    even = -number(means["uniform-spatial + merging", "25 %"])
    assert f"costs them {own} points. Compare it" in methods
    assert f"which costs them {even} |" in methods
    read = 8 * (196 + 3 * int(0.3 * 196 + 1e-9)) / (32 * 196)
    assert f"stage 1 alone keeps about {100 * read:.0f} % of the tokens of 32 frames" in methods


def test_equal_cost_is_measured_at_original_positions() -> None:
    with lzma.open(DATA / "tokens-64" / "fair.jsonl.xz", "rt") as lines:
        rows = json.loads(next(lines))["rows"]
    given = {row["parameters"].get("positions", "kept") for row in rows}
    assert given == {"kept"}


def test_what_a_gpu_saves() -> None:
    speed = on_one_line("docs/speed.md")
    memory = table("docs/models.md", "<!-- gpu memory: ", "| 128 frames")
    own, whole = (cells(memory, row)[1] for row in ("DyCoke", "nothing dropped"))
    (own, whole) = (re.findall(r"\((\d+)%\)", cell)[0] for cell in (own, whole))
    assert f"takes {own} % of the [stock memory]" in speed
    assert f"({whole} % with nothing dropped)" in speed
    slower, longer = [], []
    for frames in (32, 128):
        times = table("docs/speed.md", "<!-- gpu speed: ", f"| {frames} frames")
        stock = cells(times, "transformers, SDPA")
        for row in times:
            if row[0].startswith("DyCoke"):
                slower.append(number(row[5]) - number(stock[5]))
                longer.append(number(row[8]) / number(stock[8]))
    assert f"first token comes {cells(times, 'DyCoke')[4].split('(')[1][:3]} times as fast" in speed
    assert number(cells(times, "DyCoke")[8]) / number(stock[8]) == pytest.approx(1, abs=0.01)
    assert min(slower) > 0
    assert f"A decode step takes up to {max(slower):.0f} ms longer" in speed
    assert f"takes {min(longer):.2f} to {max(longer):.2f} times as long as stock's" in speed


def test_a_token_beside_other_programs() -> None:
    speed = on_one_line("docs/speed.md")

    def token(machine: str, row: str) -> float:
        return number(cells(read_table(f"peers-2-cores-of-intel-xeon-{machine}"), row)[4])

    ours, llama = "dycoke, nothing dropped, int8", "llama.cpp, Q8_0"
    amx, avx2 = (token(machine, ours) / token(machine, llama) for machine in ("amx-int8", "avx2"))
    openvino = token("amx-int8", ours) / token("amx-int8", "OpenVINO GenAI, int8")
    assert (
        f"a token takes {amx:.2f} times as long as llama.cpp's in Q8_0 and {openvino:.2f} times as "
        "long as OpenVINO's in int8"
    ) in speed
    assert f"it takes {avx2:.2f} times as long as llama.cpp's" in speed


def test_the_default_with_avx2() -> None:
    rows = read_table("rules-2-cores-of-intel-xeon-avx2")
    names = (
        "transformers baseline (SDPA)",
        "ttm (the default)",
        "stride, merged",
        "ttm before vision",
        "fewer frames",
    )
    stock, ours, even, early, few = (number(cells(rows, name)[4]) for name in names)
    assert (
        f"{even} s with every n-th token, {early} s merging before the vision tower, and {few} s "
        "with two whole frames"
    ) in on_one_line("docs/speed.md")
    vision, own_vision = (number(cells(rows, name)[1]) for name in names[:2])
    assert f"takes {stock} s stock, {ours} s by default" in on_one_line("docs/speed.md")
    assert round(5 * vision / stock) == 4
    saved = stock - ours
    told = f"({saved - vision + own_vision:.0f} of these {saved:.0f} s at prefill and decode"
    assert told in on_one_line("docs/speed.md")


def test_what_an_hour_takes_and_answers() -> None:
    speed = on_one_line("docs/speed.md")
    peaks = table("docs/long-video.md", "<!-- long-video: ")
    hour, two = (cells(peaks, minutes)[6] for minutes in ("60", "2"))
    assert f"takes {hour} MB besides the weights with the bundled model" in speed
    assert f"two minutes take {two} MB." in speed
    answers = read_table("long-controls.1")
    rows = ("dycoke-plus in windows", "uniform", "random")
    chosen, few, drawn = (cells(answers, row)[6].split()[0] for row in rows)
    told = f"all frames answer {chosen} % of the questions about 50 rendered videos of 2 to 60 min"
    assert f"{told}, 32 whole frames {few} %, random tokens {drawn} %" in speed


def test_more_tokens_answer_worse() -> None:
    rows = read_table("long-controls.1")
    names = ("dycoke-plus in windows, 256", "dycoke-plus in windows",
             "dycoke-plus in windows, 1024", "dycoke-plus in windows, 1911")  # fmt: skip
    few, some, more, most = (cells(rows, name)[6].split()[0] for name in names)
    told = f"which fill the context, the pool answers {few}, {some}, {more} and {most} %"
    evs = [cells(rows, f"evs{cap}")[6].split()[0] for cap in (", 256", "", ", 1024", ", 1911")]
    told += f", `evs` {evs[0]}, {evs[1]}, {evs[2]} and {evs[3]} %"
    assert told in on_one_line("docs/results.md")


PRUNING = "pruning-llava-onevision-0-5b-2-cores-of-amd-epyc-avx512-bf16"


def test_what_pruning_saves_per_token() -> None:
    saved = []
    for place in (1, 2, 3):  # 16, 32 and 64 frames
        times = read_table(f"{PRUNING}.{place}")
        alone, both = (
            number(cells(times, f"custom CPU kernels, {row}")[1]) for row in ("TTM alone", "DyCoke")
        )
        saved.append(round(100 * (1 - both / alone)))
    least, more, most = sorted(saved)
    assert (
        f"by {more} % at 2,960 visual tokens, by {most} % at 5,920, and by {least} % at 1,480"
        in (on_one_line("docs/speed.md"))
    )
    assert f"time per token falls by {least} to {most} % on two" in on_one_line("docs/methods.md")


def test_a_row_of_stage_2_of_the_other_published_model() -> None:
    rows = read_table("decode-rules-gemma-280")
    full = next(row for row in rows if row[1] == "full cache")[8]
    own, drawn = (
        next(row[8] for row in rows if (row[0], row[1]) == ("0.7", rule))
        for rule in ("DyCoke's", "random")
    )
    told = f"finds {full} %, {own} % and {drawn} %"
    assert told in on_one_line("docs/methods.md")
