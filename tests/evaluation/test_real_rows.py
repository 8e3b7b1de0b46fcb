"""The readers, of real rows of the published benchmarks."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from dycoke_cli.evaluation.dataset import Item
from dycoke_cli.evaluation.datasets import open_dataset
from tests.evaluation.miniatures import items_of

REAL = Path(__file__).parents[2] / ".." / "shared" / "annotations"
real = pytest.mark.skipif(not REAL.is_dir(), reason="real annotations aren't on this machine")


@real
def test_real_rows_of_nextqa(tmp_path: Path) -> None:
    for split, file, count in [
        ("test", "nextqa_test_head100.csv", 100),
        ("validation", "nextqa_val_head200.csv", 200),
    ]:
        name = "test.csv" if split == "test" else "val.csv"
        (tmp_path / name).write_bytes((REAL / file).read_bytes())
        dataset = open_dataset("nextqa_mc_test", tmp_path)
        items = dataset.items(split, None)  # type: ignore[arg-type]
        rows = (REAL / file).read_text(encoding="utf-8").splitlines()
        assert len(items) in (count, len(rows) - 1)
        assert dataset.notes() == []
    (first,) = [item for item in items if item.id == "4010069381_6"]
    assert first == Item(
        id="4010069381_6",
        video="4010069381",
        question="how do the two man play the instrument\nA. roll the handle\nB. tap their feet\n"
        "C. strum the string\nD. hit with sticks\nE. pat with hand",
        answer="A",
        kind="CH",
        label="causal",
        options=(
            "roll the handle", "tap their feet", "strum the string", "hit with sticks",
            "pat with hand",
        ),
    )  # fmt: skip


@real
def test_real_rows_of_activitynet_qa(tmp_path: Path) -> None:
    for which in "qa":
        content = (REAL / f"activitynet_val_{which}_head300.json").read_bytes()
        (tmp_path / f"val_{which}.json").write_bytes(content)
    dataset = open_dataset("activitynetqa", tmp_path)
    items = dataset.items("validation", None)
    assert len(items) == 300
    assert dataset.notes() == []
    (first,) = [item for item in items if item.id == "v_TIEzvhv6xaI_2"]
    assert (first.question, first.answer, first.kind) == (
        "Is the no.3 athlete playing indoor? Answer the question using a single word or phrase.",
        "yes",
        "yes/no",
    )
    told = json.loads((tmp_path / "val_a.json").read_text(encoding="utf-8"))
    kinds = Counter(item.kind for item in items)
    assert kinds["yes/no"] == sum(row["type"] == 3 for row in told)


@real
def test_the_real_row_of_videomme(tmp_path: Path) -> None:
    (tmp_path / "test.json").write_bytes((REAL / "videomme_sample.json").read_bytes())
    (item,) = items_of("videomme", tmp_path)
    assert (item.id, item.video, item.answer, item.kind, item.label) == (
        "001-1", "fFjv93ACGo8", "C", "Counting Problem", "short",
    )  # fmt: skip
    assert "\nA. Apples.\nB. Candles.\nC. Berries.\nD. The three kinds are" in item.question
