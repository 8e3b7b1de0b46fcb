"""A guard on typed answers and on words: both signals, on the same questions of `shapes`.

Questions with letters, and those that yes or no answers, were asked with options under each budget
of the guards, and in words (`tune_tables`). `python -m benchmarks.guard_choices --write` makes the
table of the kept answers; this file at commit 4a3dca73 asked the questions.
"""

from __future__ import annotations

import json
import lzma
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.cells import head, line, percent
from benchmarks.kept_tables import report
from benchmarks.raw_answers import DATA
from benchmarks.tune_tables import (
    GUARDED,
    LADDERS,
    MODELS,
    Asked,
    Videos,
    auroc,
    file_of,
    guards_of,
)
from dycoke_cli.answer.json_schema import from_dict
from dycoke_cli.evaluation.dataset import Item, Split
from dycoke_cli.evaluation.datasets import open_dataset
from dycoke_cli.evaluation.scoring.statistics import grouped
from dycoke_cli.tuning.search import Observation

NAME = "guard-choices"
KEPT = DATA / f"{NAME}.jsonl.xz"
SIGNALS = {
    "words": ("least_probability", "words: smallest probability of a token"),
    "options": ("least_margin", "options: margin"),
}
"""By the way of asking: the signal of the guard, and its title."""
ALPHA, SIZE = 0.05, 80
VIDEOS: dict[Split, int] = {"validation": 105, "test": 19}
"""The first of those that `benchmarks/tune.py` asked about."""


def questions(split: Split) -> dict[str, list[Item]]:
    """The questions of a split that have options, by video."""
    items = open_dataset("shapes").items(split)
    kept = [item for item in items if not item.history and options_of(item)]
    return grouped(kept, lambda item: item.video)


def options_of(item: Item) -> tuple[str, ...]:
    """The options of a question: its letters, or yes and no; none for all others."""
    return ("yes", "no") if item.kind == "existence" else item.letters


def asked_items() -> Iterator[Item]:
    """All questions."""
    for split, videos in VIDEOS.items():
        for items in islice(questions(split).values(), videos):
            yield from items


def read_kept(path: Path = KEPT) -> tuple[Mapping[str, Any], Mapping[str, Mapping[Split, Videos]]]:
    """The header, and the answers by way of asking and split.

    The field `least_probability` of a certainty is the signal of its way of asking.
    """
    items = {item.id: item for item in asked_items()}
    with lzma.open(path, "rt") as file:
        header, *lines = map(json.loads, file)
    known = {line["item"] for line in lines}
    found: Any = {
        by: {split: defaultdict(lambda: defaultdict(list)) for split in VIDEOS} for by in SIGNALS
    }
    for split in VIDEOS:
        of_split = {item.id for item in open_dataset("shapes").items(split)} & known
        with lzma.open(file_of(DATA, "shipped", split), "rt", encoding="utf-8") as file:
            next(file)
            words = [line for line in map(json.loads, file) if line["row"] in GUARDED]
        for by, every in (("words", words), ("options", lines)):
            for one in every:
                if one["item"] in of_split:
                    asked = _asked(items[one["item"]], by, one)
                    found[by][split][items[one["item"]].video][one["row"]].append(asked)
    return header, found


def _asked(item: Item, by: str, line: Mapping[str, Any]) -> Asked:
    fields = {key: value for key, value in line.items() if key not in ("video", "item", "row")}
    one: Observation = from_dict(Observation, fields | {"question": item.question})
    signal = getattr(one.certainty, SIGNALS[by][0])
    one = replace(one, certainty=replace(one.certainty, least_probability=signal))
    if by == "options" and item.kind == "existence":
        return Asked(one, item.answer.lower().startswith(one.answer))
    return Asked(one, open_dataset("shapes").score(item, one.answer).right)


def table(path: Path = KEPT) -> str:
    """Markdown table: each signal under each guard, promised 5 %."""
    header, found = read_kept(path)
    lines = head("guard", "signal", "changed at the smallest budget", "AUROC",
                 "changed under the guard", "held on the rest", "held on test videos",
                 "tokens read")  # fmt: skip
    for ladder, rows in LADDERS.items():
        for by, (_, title) in SIGNALS.items():
            videos, test = found[by]["validation"], found[by]["test"]
            each = [one.observation for asked in videos.values() for one in asked[rows[0]]]
            same = [one.certainty.least_probability for one in each if one.same]
            other = [one.certainty.least_probability for one in each if not one.same]
            [got] = [
                one
                for one in guards_of(videos, test, {ladder: rows}, [SIZE])
                if one.alpha == ALPHA and not one.on_average
            ]
            area = f"{auroc(same, other):.3f}" if same and other else "–"
            shares = (got.held, got.held_on_test or 0, got.tokens)
            lines.append(
                line(
                    *(f"`{ladder}`", title, f"{len(other)} of {len(each)}", area),
                    *(f"{100 * got.changed:.1f} %", *map(percent, shares)),
                )
            )
    videos, test = found["options"]["validation"], found["options"]["test"]
    counts = [fmean(len(rows["none"]) for rows in part.values()) for part in (videos, test)]
    notes = (
        f"{len(videos)} validation and {len(test)} test videos of `shapes` with "
        f"{counts[0]:.1f} and {counts[1]:.1f} questions each: those with letters, and those that "
        "yes or no answers, each asked in words and with options. Bundled model in float32, 32 "
        f"frames. {MODELS} The guards promise {100 * ALPHA:g} % with 95 % confidence from {SIZE} "
        "of the validation videos; mean of 100 draws, checked on the rest and on the test videos, "
        "by which nothing was chosen. Tokens: of all prefills, of those of the whole video. Commit "
        f"{header['commit']}, {header['machine']}."
    )
    return "\n".join([*lines, "", notes])


if __name__ == "__main__":
    report(__doc__, lambda: {NAME: table()})
