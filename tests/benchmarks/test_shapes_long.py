"""Long videos at equal tokens: which tokens show the card, what rules keep, and the tables."""

from __future__ import annotations

import json
import lzma
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.shapes_long import UNASKED, export, measured
from benchmarks.shapes_long_rules import ROWS, TOKENS, AtMost, shows_card, whole_frames
from benchmarks.shapes_long_tables import read_measured, tables, verdict
from dycoke_cli.compression.selection import SelectionInputs
from dycoke_cli.evaluation.datasets.shapes_long import ShapesLong
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
    uniform = read(video, Sampling(frames=32)).timestamps_s
    assert whole_frames("uniform", 600, 32).tolist() == list(uniform)
    recent = read(video, Sampling(frames=32, start_s=568.0)).timestamps_s
    assert whole_frames("recent", 600, 32).tolist() == list(recent)


@pytest.mark.parametrize("row", [row for row, method in ROWS.items() if method is not None])
def test_rules_keep_the_number_of_tokens(row: str) -> None:
    method = ROWS[row]
    assert method is not None
    torch.manual_seed(0)
    features = torch.randn(100, 16, 8)
    kept = method.choose(SelectionInputs(features)).kept
    assert len({*kept.tolist()}) == TOKENS == method.kept_tokens(100, 16)
    assert kept.tolist() == sorted(kept)
    few = AtMost(rule=method.rule, tokens=5000)
    assert few.choose(SelectionInputs(features)).kept.tolist() == list(range(1600))


def lines(better: str) -> list[dict]:
    """Made-up results of 24 videos: one row is right where the others aren't."""
    header = {"name": "made-up", "split": "test", "edition": "1", "budget": 512}
    found: list[dict] = [{**header, "machine": "a machine", "commit": "abc1234"}]
    for item in ShapesLong().items("test", 24):
        for row in ("uniform", "random"):
            if item.id.endswith("-0"):
                found.append({"video": item.video, "row": row, "card": 2 if row == better else 0})
            found.append({"video": item.video, "item": item.id, "row": row, "right": row == better})
    return found


def put(folder: Path, name: str, content: list[dict]) -> None:
    text = "".join(f"{json.dumps(line)}\n" for line in content)
    (folder / f"long-{name}.jsonl.xz").write_bytes(lzma.compress(text.encode()))


def test_what_comes_of_it_stands_first(tmp_path: Path) -> None:
    put(tmp_path, "a", lines("random"))
    put(tmp_path, "b", lines("uniform"))
    first, second, *_ = tables(tmp_path).splitlines()
    assert first.startswith("**made-up: uniform frames are beaten.**")
    assert first.endswith("is random: +100.0 ± 0.0 points.")
    assert second.startswith("**made-up: uniform frames aren't beaten.**")
    one = read_measured(tmp_path / "long-b.jsonl.xz")
    assert "−100.0" in verdict(one)


def test_tables_by_length_and_depth(tmp_path: Path) -> None:
    put(tmp_path, "a", lines("random"))
    text = tables(tmp_path)
    assert "| rule | 2 min, 1+ | 2 min, 4+ | 10 min, 1+ |" in text
    # Two of the card's tokens are at least one, and fewer than four.
    assert "| random | 100 ± 0 | 0 ± 0 |" in text
    assert "| rule | 1/10 | 2/10 |" in text
    assert "24 videos (6 of 2 min, 6 of 10 min, 6 of 30 min, 6 of 60 min), 192 questions" in text


@pytest.mark.extended
@pytest.mark.slow
def test_a_video_is_measured_by_all_rows(tmp_path: Path) -> None:
    dataset = ShapesLong()
    items = dataset.items("test", 1)[:2]
    with torch.inference_mode():
        found = [*measured(load("mini", dtype="float32"), dataset, items)]
    assert [line["row"] for line in found if "card" in line] == [*ROWS]
    assert {line["tokens"] for line in found if "item" in line} == {TOKENS}
    assert all(0 <= line["card"] <= line["of"] for line in found if "card" in line)
    asked = [(row, i.id) for row in ROWS if row not in UNASKED for i in items]
    assert [(line["row"], line["item"]) for line in found if "item" in line] == asked
    file = tmp_path / "made-up.jsonl"
    header = {**lines("random")[0]}
    file.write_text(
        "".join(f"{json.dumps(one)}\n" for one in (header, {"video": "t000", "lines": found}))
    )
    assert read_measured(export(file, tmp_path)).videos == ["t000"]
