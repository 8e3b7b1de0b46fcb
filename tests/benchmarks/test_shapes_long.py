"""Long videos at equal tokens: which tokens show the card, what rules keep, and the tables."""

from __future__ import annotations

import json
import lzma
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import shapes_long, window_sizes
from benchmarks.kept_tables import csv_files, kept_files
from benchmarks.long_answers import Measurement, export
from benchmarks.shapes_long import measured
from benchmarks.shapes_long_rules import ASKED, RULES, TOKENS, Chosen, shows_card
from benchmarks.shapes_long_tables import DATA, read_measured, tables
from dycoke_cli.compression.registry import create
from dycoke_cli.compression.selection import Selection
from dycoke_cli.engine.binding import bind
from dycoke_cli.engine.session import VideoSession
from dycoke_cli.evaluation.datasets.shapes_long import FPS, ShapesLong
from dycoke_cli.loop.in_windows import read_clip_in_windows
from dycoke_cli.models.load import load
from dycoke_cli.video import Sampling, read
from dycoke_cli.video.rendered import Rendered

STATIC = [
    video
    for video in dict.fromkeys(item.video for item in ShapesLong().items("test"))
    if ShapesLong().script(video).label == "static"
]


@pytest.mark.parametrize("video", STATIC[:6])
def test_the_tokens_that_show_the_card_are_those_that_have_its_paper(video: str) -> None:
    """By the pixels: of each token's 16 x 16, how many change when the card comes."""
    script = ShapesLong().script(video)
    frames = int(script.seconds)
    shows = shows_card(script, frames, 4)
    seconds = shows.any(1).nonzero().flatten().tolist()
    (card,) = (event for event in script.events if event.deed == "show")
    assert seconds == [s for s in range(frames) if card.begin * frames <= s < card.finish * frames]
    clip = read(
        ShapesLong().file(video), Sampling(fps=1.0, start_s=seconds[0] - 1, end_s=seconds[1])
    )
    before, during = clip.frames.astype(int)
    differs = (np.abs(during - before).max(-1) > 30).reshape(4, 16, 4, 16).mean((1, 3)).flatten()
    on_card = shows[seconds[0]].numpy()
    assert (differs[~on_card] < 0.3).all()
    # Ink on black doesn't differ, nor paper on white.
    assert (differs[on_card] > 0.1).all()


def test_whole_frames_are_those_that_sampling_reads() -> None:
    video = Rendered("drawn", 600, lambda number: np.full((2, 2, 3), number % 251, np.uint8))
    features = torch.zeros(600, 16, 1)
    for rule, start in (("uniform", None), ("recent", 568.0)):
        times = read(video, Sampling(frames=32, start_s=start)).timestamps_s
        kept = RULES[rule](features, 512).kept
        assert kept.tolist() == [16 * int(t) + i for t in times for i in range(16)]


@pytest.mark.parametrize("rule", RULES)
def test_rules_keep_the_number_of_tokens(rule: str) -> None:
    torch.manual_seed(0)
    kept = RULES[rule](torch.randn(100, 16, 8), TOKENS).kept
    assert len({*kept.tolist()}) == TOKENS
    assert kept.tolist() == sorted(kept)
    assert 0 <= kept[0] <= kept[-1] < 1600


def test_what_one_rule_chose_is_not_taken_for_what_another_did() -> None:
    one, other = (Selection(torch.arange(i, i + 5)) for i in (0, 5))
    # A session keeps what was selected by the method.
    kept = {Chosen(rule="a", selection=one): 1, Chosen(rule="b", selection=other): 2}
    assert len(kept) == 2
    assert kept[Chosen(rule="a", selection=other)] == 1


def lines(better: str) -> list[dict]:
    """Made-up results of 24 videos: one row is right where the others aren't."""
    header = {"name": "made-up", "split": "test", "edition": "1", "budget": 512}
    found: list[dict] = [{**header, "machine": "a machine", "commit": "abc1234"}]
    for item in ShapesLong().items("test", 24):
        for row in ("uniform", "random"):
            if item.id.endswith("-0"):
                found.append({"video": item.video, "rule": row, "card": 2 if row == better else 0})
            said = {"tokens": 512, "right": row == better}
            found.append({"video": item.video, "item": item.id, "row": row, **said})
    return found


def put(folder: Path, name: str, content: list[dict]) -> None:
    text = "".join(f"{json.dumps(line)}\n" for line in content)
    (folder / f"long-{name}.jsonl.xz").write_bytes(lzma.compress(text.encode()))


def test_tables_by_length_and_depth(tmp_path: Path) -> None:
    put(tmp_path, "a", lines("random"))
    text = tables(tmp_path)["long-made-up"]
    assert "| rule | tokens | 2 min | 10 min | 30 min | 60 min | all | difference from un" in text
    assert f"| random | 512 |{' 100 ± 0 |' * 5} +100.0 ± 0.0 |" in text
    assert "| rule | 2 min, 1+ | 2 min, 4+ | 10 min, 1+ |" in text
    # Two of the card's tokens are at least one, and fewer than four.
    assert "| random | 100 ± 0 | 0 ± 0 |" in text
    assert "| rule | 1/10 | 2/10 |" in text
    assert "24 videos (6 of 2 min, 6 of 10 min, 6 of 30 min, 6 of 60 min), 192 questions" in text


MEASUREMENTS = [module.MEASUREMENT for module in (shapes_long, window_sizes)]


@pytest.mark.parametrize("measurement", MEASUREMENTS, ids=lambda one: one.kind)
def test_the_kept_tables_are_those_of_the_data(measurement: Measurement) -> None:
    for name, text in measurement.tables(DATA).items():
        assert csv_files(text, name) == kept_files(name)


@pytest.mark.parametrize("measurement", MEASUREMENTS, ids=lambda one: one.kind)
def test_answers_in_the_data_are_whole_and_scored_as_the_benchmark_scores(
    measurement: Measurement,
) -> None:
    dataset = ShapesLong()
    items = {item.id: item for item in dataset.items("test")}
    files = [*DATA.glob(f"{measurement.kind}-*.jsonl.xz")]
    assert files
    for file in files:
        with lzma.open(file, "rt", encoding="utf-8") as content:
            header, *rest = map(json.loads, content)
        assert header["commit"]
        assert header["edition"] == dataset.edition("test")
        asked: dict[str, list[str]] = {}
        for one in rest:
            if "item" in one:
                assert dataset.score(items[one["item"]], one["said"]).right == one["right"]
                asked.setdefault(one["row"], []).append(one["item"])
        first, *others = asked.values()
        assert all(other == first for other in others)


@pytest.mark.extended
@pytest.mark.slow
def test_a_video_is_measured_by_all_rows(tmp_path: Path) -> None:
    dataset = ShapesLong()
    items = dataset.items("test", 1)[:2]
    with torch.inference_mode():
        found = [*measured(load("mini", dtype="float32"), dataset, items)]
    kept = [line for line in found if "rule" in line]
    assert [line["rule"] for line in kept] == [*RULES]
    assert all(0 <= line["card"] <= line["of"] for line in kept)
    said = [line for line in found if "row" in line]
    assert [(line["row"], line["item"]) for line in said] == [
        (row, item.id) for row in ASKED for item in items
    ]
    assert {line["tokens"] for line in said} == {TOKENS}
    file = tmp_path / "long-made-up.jsonl"
    header = {**lines("random")[0]}
    file.write_text(
        "".join(f"{json.dumps(one)}\n" for one in (header, {"video": "t000", "lines": found}))
    )
    assert read_measured(export(file, tmp_path)).videos == ["t000"]


@pytest.mark.extended
@pytest.mark.slow
def test_windows_of_the_usual_size_are_asked_about_as_the_program_does() -> None:
    """What `dycoke serve --max-tokens` answers, and `ask` (tests/cli/test_long_video.py)."""
    dataset, loaded = ShapesLong(), load("mini", dtype="float32")
    items = dataset.items("test", 1)[:3]
    clip = read(dataset.file(items[0].video), Sampling(fps=FPS))
    found = [*window_sizes.measured(loaded, dataset, items)]
    assert [line["row"] for line in found[::3]] == ["16 frames", "32 frames", "64 frames"]
    assert all(0.9 * TOKENS < line["tokens"] <= TOKENS for line in found)
    method = bind(create("dycoke-plus"), loaded.traits.in_windows)
    limits = {"max_tokens": TOKENS, "max_new_tokens": 64, "cache": None}
    windowed, blank = read_clip_in_windows(
        loaded, method, clip, **limits, on_frames=lambda done, total: None
    )
    session = VideoSession(loaded, blank, windowed=windowed)
    said = [session.ask(item.question, method).answer for item in items]
    assert said == [line["said"] for line in found[3:6]]
