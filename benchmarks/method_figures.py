"""The figures of the tables, from the answers behind them: means, differences and their errors."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import cache
from types import MappingProxyType
from typing import Any

from benchmarks.comparison_tables import DOWNSAMPLED, OWN, with_holm
from benchmarks.event_lengths import by_length, lengths_of
from benchmarks.method_choice import CANDIDATES
from benchmarks.raw_answers import BASELINE, RawAnswers
from dycoke_cli.answer.json_schema import to_dict
from dycoke_cli.compression.registry import parse_specs
from dycoke_cli.evaluation.dataset import ACCURACY, Item
from dycoke_cli.evaluation.datasets.shapes import Shapes
from dycoke_cli.evaluation.method_row import KeptRow
from dycoke_cli.evaluation.prediction import Prediction, Setup
from dycoke_cli.evaluation.scored_row import make_row
from dycoke_cli.evaluation.scoring.statistics import Predictions, grouped, mean_of, mean_or_none

_PAIRED = {
    "positions=kept": "positions=renumbered",
    "merge_stage=llm": "merge_stage=vision",
    f"{OWN}:merge_dropped=false:": f"{OWN}:",
    **{
        f"{name}:{setting}:": f"{name}:"
        for name, settings in CANDIDATES.items()
        for setting in settings
    },
}
"""Rows that differ in this alone are put side by side."""
_ABSENT = re.compile(r"(?:No,? |There is no )")
_WITH_ABSENT = ("existence", "needle")
"""Kinds of questions about things, of which some are there and some aren't."""


def is_absent(item: Item) -> bool:
    """Whether a question is about something that isn't in the video."""
    return _ABSENT.match(item.answer) is not None


_MEASURES: dict[str, Callable[[Item], bool]] = {
    "absent": is_absent,
    "present": lambda item: item.kind in _WITH_ABSENT and not is_absent(item),
    "follow_up": lambda item: bool(item.history),
    "description": lambda item: item.kind == "description",
}


def right(prediction: Prediction) -> float:
    """1 where an answer is correct."""
    return float(prediction.right)


def hard_and_easy(
    rows: Mapping[str, Predictions], items: Sequence[Item]
) -> dict[str, Callable[[Item], bool]]:
    """As VTC-Bench parts them: what the full model knows, a smaller picture tells or doesn't."""
    if DOWNSAMPLED not in rows:
        return {}
    known = {item.id for item in items if rows[BASELINE][item.id].right}
    told = {item.id for item in items if rows[DOWNSAMPLED][item.id].right}
    hard, easy = known - told, known & told
    return {"hard": lambda item: item.id in hard, "easy": lambda item: item.id in easy}


def more_of(
    items: Sequence[Item],
    said: Predictions,
    baseline: Predictions | None,
    parts: Mapping[str, Callable[[Item], bool]] = MappingProxyType({}),
) -> dict[str, Any]:
    """What the table has of a row beside what `dycoke eval` counts.

    Args:
        baseline: the answers of the baseline; None where this is it.
    """
    more: dict[str, Any] = {}
    for name, belongs in {**_MEASURES, **parts}.items():
        some = [item for item in items if belongs(item)]
        more[name] = asdict(mean_of(right, some, said, baseline)) if some else None
    # Later questions about a video reuse what the first one prefilled.
    prefills: list[float | None] = []
    for of_video in grouped(items, lambda item: item.video).values():
        seconds = [said[item.id].seconds_prefill for item in of_video]
        known = [one for one in seconds if one is not None]
        prefills.append(max(known) if len(known) == len(seconds) else None)
    more["seconds_whole_prefill"] = mean_or_none(prefills)
    return more


def pairs_of(rows: Mapping[str, Predictions], items: Sequence[Item]) -> dict[str, dict[str, Any]]:
    """Rows that differ in one parameter: the mean of the other row, and its paired difference."""
    pairs = {}
    for text, first in rows.items():
        for one, other in _PAIRED.items():
            second = text.replace(one, other)
            if second != text and second in rows:
                pairs[text] = asdict(mean_of(right, items, rows[second], first))
    return pairs


def alike_of(rows: Mapping[str, Predictions]) -> dict[str, str]:
    """Rows whose answers are, word for word, those of an earlier row: that row, by theirs."""
    first: dict[tuple[tuple[str, str], ...], str] = {}
    found = {}
    for text, said in rows.items():
        earlier = first.setdefault(tuple((i, said[i].said) for i in sorted(said)), text)
        if earlier != text:
            found[text] = earlier
    return found


def ahead_of(rows: Mapping[str, Predictions], items: Sequence[Item]) -> dict[str, dict[str, Any]]:
    """The project's own method against every other row at its budget, paired."""
    ahead = {}
    for text, said in rows.items():
        name = text.partition(":")[0]
        if ":retain=" not in text or name == OWN:
            continue
        if (first := _own_of(text, rows)) is not None:
            ahead[text] = asdict(mean_of(right, items, rows[first], said))
    return _with_holm(ahead)


def _with_holm(pairs: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Add to each pair its p-value among all that are compared at its budget."""
    for budget in {_budget(text) for text in pairs}:
        with_holm({text: pair for text, pair in pairs.items() if _budget(text) == budget})
    return pairs


def _budget(text: str) -> str:
    return next(one for one in text.split(":") if one.startswith("retain="))


def _own_of(text: str, rows: Mapping[str, Predictions]) -> str | None:
    """The own row with the same parameters, or else the first at the same budget that merges."""
    _, *given = text.split(":")
    if (same := ":".join([OWN, *given])) in rows:
        return same
    budget = _budget(text)
    own = (row for row in rows if row.startswith(f"{OWN}:") and budget in row.split(":"))
    return next((row for row in own if "merge_dropped=false" not in row), None)


def document_of(raw: RawAnswers) -> dict[str, Any]:
    """What tables are made of: the rows as `dycoke eval` counts them, and what else they have."""
    items, header = raw.items, raw.header
    baseline = raw.answers[BASELINE]
    rows, more = [], {}
    lengths = lengths_of(items, cache(Shapes().script), header.frames or 1)
    parts = hard_and_easy(raw.answers, items) | by_length(lengths)
    for row in header.rows:
        said = raw.answers[row.spec]
        compared = None if row.spec == BASELINE else baseline
        (spec,) = parse_specs(row.spec)
        setup = Setup(
            "", header.benchmark, header.edition, header.split, header.model, {}, row.frames
        )
        kept = KeptRow(spec, row.parameters, setup)
        counted = make_row(kept, items, said, compared, metric=ACCURACY, macro=False)
        rows.append(to_dict(counted))
        more[row.spec] = more_of(items, said, compared, parts)
    return {
        **to_dict(header),
        "per_frame": round(max(one.visual for one in baseline.values()) / (header.frames or 1)),
        "videos": len({item.video for item in items}),
        "rows": rows,
        "more": more,
        "pairs": pairs_of(raw.answers, items),
        "alike": alike_of(raw.answers),
        "ahead": ahead_of(raw.answers, items),
    }
