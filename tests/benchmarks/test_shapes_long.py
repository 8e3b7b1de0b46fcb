"""Long videos at equal tokens: the tables, and the answers that they are made of."""

from __future__ import annotations

import json
import lzma
from pathlib import Path

import pytest

from benchmarks.kept_tables import DATA, csv_files, kept_files
from benchmarks.shapes_long import tables
from dycoke_cli.evaluation.datasets.shapes_long import ShapesLong


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


def test_the_kept_tables_are_those_of_the_data() -> None:
    for name, text in tables(DATA).items():
        assert csv_files(text, name) == kept_files(name)


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
