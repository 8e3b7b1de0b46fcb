"""What methods keep of features of a published tower: tables and sentences, from the answers."""

from __future__ import annotations

import json
import lzma
from collections import defaultdict
from statistics import fmean, stdev
from typing import Any

import pytest

from benchmarks.kept_tables import DATA, read_table

NAME, FILMS = "real-features-dinov2-s", "real-features-films"


def kept_answers(name: str = NAME) -> list[dict[str, Any]]:
    with lzma.open(DATA / f"{name}.jsonl.xz", "rt") as lines:
        return [json.loads(line) for line in lines]


def test_what_the_text_says_of_films_with_cuts() -> None:
    header, *lines = kept_answers(FILMS)
    rows = {(one["row"], one["retain"]): one["clips"] for one in lines if "row" in one}
    own = max(retain for _, retain in rows if retain)
    worse: dict[str, dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    errors: dict[str, list[float]] = defaultdict(list)
    for clip, ours, theirs in zip(
        header["clips"], rows["dycoke", own], rows["random", own], strict=True
    ):
        worse[clip["kind"]][clip["source"]].append(ours["error"] > theirs["error"])
        if clip["kind"] == "with cuts":
            errors[clip["source"]].append(ours["error"])
    assert [sum(map(all, films.values())) for films in worse.values()] == [4, 2]
    assert [len(films) for films in worse.values()] == [5, 6]
    # By hand: the mean of six files of five films; Student's t of four degrees of freedom.
    mean = fmean(error for of_film in errors.values() for error in of_film)
    residuals = [sum(each) - len(each) * mean for each in errors.values()]
    spread = 1.1416 * stdev(residuals, 0) * 5**0.5 / 6
    ((shown,),) = [[one[2]] for one in read_table(f"{FILMS}.2") if one[:2] == ["47 %", "dycoke"]]
    assert shown == f"{mean:.4f} ± {spread:.4f}"


def by_source(row: str, retain: float, name: str) -> tuple[float, float]:
    """Mean and error over sources, with nothing of the project; sources have two clips or one."""
    header, *lines = kept_answers()
    (line,) = [one for one in lines if (one.get("row"), one.get("retain")) == (row, retain)]
    sums: dict[str, list[float]] = defaultdict(list)
    for clip, one in zip(header["clips"], line["clips"], strict=True):
        sums[clip["source"]] += one[name] if isinstance(one[name], list) else [one[name]]
    count = sum(map(len, sums.values()))
    mean = sum(map(sum, sums.values())) / count
    residuals = [sum(each) - len(each) * mean for each in sums.values()]
    # Student's t of 14 sources, at the level that one standard error of many covers.
    return mean, 1.0400 * stdev(residuals, 0) * len(sums) ** 0.5 / count


@pytest.mark.parametrize("row", ["dycoke-plus", "evs", "random"])
def test_a_row_counted_by_hand(row: str) -> None:
    kept = read_table(f"{NAME}.2")
    ((_, _, _, _, error, _, _, which, order, changed),) = (
        one for one in kept if one[:2] == ["10 %", row]
    )
    for name, shown in (("which", which), ("order", order), ("changed", changed)):
        mean, spread = by_source(row, 0.1, name)
        assert shown == f"{100 * mean:.1f} ± {100 * spread:.1f}"
    mean, spread = by_source(row, 0.1, "error")
    assert error == f"{mean:.3f} ± {spread:.3f}"
