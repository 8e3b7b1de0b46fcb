"""Long videos at equal tokens: the tables, and the answers that they are made of."""

from __future__ import annotations

import json
import lzma
from pathlib import Path

import pytest

from benchmarks.kept_tables import DATA
from benchmarks.shapes_long import tables
from dycoke_cli.evaluation.datasets.shapes import ShapesLong


def test_seconds_are_means_of_the_first_answer(tmp_path: Path) -> None:
    """By hand: a stage of a rule, and the sum of all; `uniform` reads frames of its own."""
    header = {"name": "shipped", "budget": 512, "model": {"dtype": "float32"}}
    found: list[dict] = [{**header, "machine": "a machine", "commit": "abc1234"}]
    by_length: dict[int, list[str]] = {}
    for item in ShapesLong().items("test"):
        minutes = round(ShapesLong().script(item.video).seconds / 60)
        by_length.setdefault(minutes, []).append(item.video)
    for first, videos in by_length.items():
        for number, video in enumerate([*dict.fromkeys(videos)][:2]):
            seconds = {"decode": 4.0, "vision": 2.0 + 2 * number, "uniform, decode": 0.5}
            answer = {"prefill": 0.25, "decode": 0.25, "vision": 0.5}
            said = [{"row": row, **answer} for row in ("uniform", "evs", "evs")]
            taken = {**seconds, "evs, selection": float(first)}
            found.append({"video": video, "seconds": taken, "lines": said})
    text = "".join(f"{json.dumps(line)}\n" for line in found)
    (tmp_path / "seconds-long.jsonl.xz").write_bytes(lzma.compress(text.encode()))
    table = tables(tmp_path)["seconds-long"]
    assert "| uniform | 0.50 | 0.50 | 0.00 | 0.50 | 1.50 | 1.50 | 1.50 | 1.50 |" in table
    assert "| evs | 4.00 | 3.00 | 60.00 | 0.50 | 67.50 | 37.50 | 17.50 | 9.50 |" in table


@pytest.mark.parametrize("kind", ["long", "window-sizes"])
def test_answers_in_the_data_are_whole_and_scored_as_the_benchmark_scores(kind: str) -> None:
    dataset = ShapesLong()
    items = {item.id: item for item in dataset.items("test")}
    files = [*DATA.glob(f"{kind}-*.jsonl.xz")]
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
