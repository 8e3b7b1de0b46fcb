"""Tables of tuning and guards, from kept answers alone: random draws of the videos asked.

`python -m benchmarks.tune_tables --write` keeps those of both models as CSV; benchmarks/tune.py at
commit 4a3dca73 asked the questions.
"""

from __future__ import annotations

import json
import lzma
import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from benchmarks.cells import head, line, table_lines
from benchmarks.comparison_tables import LAYERS
from benchmarks.kept_tables import report
from benchmarks.raw_answers import DATA, SUFFIX, read_answers
from dycoke_cli.answer.json_schema import from_dict
from dycoke_cli.evaluation.dataset import Split
from dycoke_cli.evaluation.datasets import open_dataset
from dycoke_cli.guard.bounds import THRESHOLDS, Attempt, calibrated, kept, loss
from dycoke_cli.tuning.search import Observation, cheapest_setting, halve, summarize

LADDERS = {
    "dycoke": ("dycoke",),
    "dycoke-plus": ("dycoke-plus:retain=0.1", "dycoke-plus:retain=0.25"),
    "flashvid": ("flashvid:retain=0.1", "flashvid:retain=0.25"),
}
"""The budgets of each guard, smallest first; all tokens come last."""
GUARDED = ("none", *(spec for ladder in LADDERS.values() for spec in ladder))
BASELINE = "none"
TUNE_DRAWS, GUARD_DRAWS = 50, 100
SIZES = (10, 20, 40)
GUARD_SIZES = (60, 120)
TARGETS = (0.85, 0.9, 0.95, 0.98)
ALPHAS = (0.05, 0.1)
NEAR = 0.02
LEFT = 20
"""Videos that a draw of the guard must leave to check it on."""
TABLE = "tune"
MODELS = f"16 tokens per frame; `dycoke` prunes from L = 9 of {LAYERS} layers."
"""Conditions of both models, for under the tables."""
SIGNALS = {
    "least_probability": "smallest probability of a token",
    "least_margin": "smallest margin between the two likeliest tokens",
    "mean_log_probability": "mean log-probability of the tokens",
}


@dataclass(frozen=True)
class Asked:
    """An observation, and whether the answer is correct."""

    observation: Observation
    right: bool


Videos = Mapping[str, Mapping[str, Sequence[Asked]]]
"""By video, then by row."""


def file_of(data: Path, name: str, split: Split) -> Path:
    """The file of a model's answers."""
    return data / f"{TABLE}-{name}{'-test' if split == 'test' else ''}{SUFFIX}"


def read(path: Path) -> Videos:
    """The answers of a kept file; none where there is no file."""
    dataset = open_dataset("shapes")
    found: dict[str, dict[str, list[Asked]]] = defaultdict(lambda: defaultdict(list))
    if not path.exists():
        return found
    with lzma.open(path, "rt", encoding="utf-8") as lines:
        items = {item.id: item for item in dataset.items(json.loads(next(lines))["split"])}
        for one in map(json.loads, lines):
            item = items[one.pop("item")]
            video, row = one.pop("video"), one.pop("row")
            observation = from_dict(Observation, one | {"question": item.question})
            right = dataset.score(item, observation.answer).right
            found[video][row].append(Asked(observation, right))
    return found


def tables(data: Path, name: str, ladders: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """The tables of a model, by the names of their places in the page."""
    videos, test = read(file_of(data, name, "validation")), read(file_of(data, name, "test"))
    whole = data / name / f"whole{SUFFIX}"
    guards = list(guards_of(videos, test, ladders))
    return {
        **({f"tune-{name}": _tune(videos, test, whole)} if whole.exists() else {}),
        f"guard-{name}": _guard_table(videos, test, guards),
        f"fixed-{name}": _fixed_table(videos),
        f"signals-{name}": signals(videos, ladders),
    }


def _tune(videos: Videos, test: Videos, whole: Path) -> str:
    """How good the choices of random draws are on the test split."""
    raw = read_answers(whole)
    accuracy = {row: fmean(one.right for one in said.values()) for row, said in raw.answers.items()}
    full = accuracy[BASELINE]
    partly = {row for rows in test.values() for row in rows} - accuracy.keys()
    for row in partly:
        accuracy[row] = full + _right(test, row) - _right(test, BASELINE)
    most = max(len(rows) for rows in videos.values())
    tuned = {v: rows for v, rows in videos.items() if len(rows) == most}
    settings = [row for row in next(iter(tuned.values())) if row != BASELINE and row in accuracy]
    every = [
        {row: [one.observation for one in rows[row]] for row in rows} for rows in tuned.values()
    ]
    costs = {row: summarize(row, every).cost for row in settings} | {BASELINE: 1.0}
    best = min((row for row in costs if accuracy[row] >= full - NEAR), key=lambda row: costs[row])
    columns: dict[str, Callable[[tuple[int, float, Sequence[str]]], str]] = {
        "videos": lambda row: str(row[0]),
        "target": lambda row: f"{100 * row[1]:g} %",
        "within 2 points": lambda row: _whole(fmean(accuracy[x] >= full - NEAR for x in row[2])),
        "accuracy − full, points": lambda row: _signed(
            100 * fmean(accuracy[x] - full for x in row[2]), 1
        ),
        "tokens read": lambda row: _whole(fmean(costs[x] for x in row[2])),
        "more than the best fixed": lambda row: (
            f"{_signed(100 * fmean(costs[x] for x in row[2]) - 100 * costs[best], 0)} points"
        ),
        "baseline chosen": lambda row: _whole(fmean(x == BASELINE for x in row[2])),
        f"L = 3 of {LAYERS} chosen": lambda row: _whole(
            fmean("prune_layer=3" in x for x in row[2])
        ),
    }
    lines = table_lines(columns, _chosen(tuned, settings))
    lines += [
        "",
        f"{TUNE_DRAWS} draws a row from {len(tuned)} validation videos, {len(settings)} settings "
        f"({', '.join(f'`{row}`' for row in settings)}); accuracy on the test split, which no "
        f"choice used ({len(raw.items)} questions, full {100 * full:.1f} %). The cheapest "
        f"setting within 2 points, known from those labels, is `{best}` ({100 * costs[best]:.0f} % "
        f"of the tokens read). {MODELS}",
    ]
    for row in sorted(partly):
        asked, moved = sum(len(rows[row]) for rows in test.values()), accuracy[row] - full
        lines[-1] += (
            f" `{row}` was asked about {len(test)} test videos alone ({asked} questions), where it "
            f"is {_signed(100 * moved, 1)} points from the full model."
        )
    return "\n".join(lines)


def _chosen(tuned: Videos, settings: Sequence[str]) -> Iterator[tuple[int, float, Sequence[str]]]:
    """By number of videos and target: the choices of random draws."""
    for size in (size for size in SIZES if size <= len(tuned)):
        for target in TARGETS:
            rng = random.Random(size)
            draws = (rng.sample(sorted(tuned), size) for _ in range(TUNE_DRAWS))
            yield size, target, [_choice(draw, tuned, settings, target) for draw in draws]


def _whole(share: float) -> str:
    """A share in whole percent."""
    return f"{100 * share:.0f} %"


def _right(videos: Videos, row: str) -> float:
    return fmean(one.right for rows in videos.values() for one in rows[row])


def _changed(videos: Videos, row: str) -> float:
    """The mean over videos of the share of changed answers, which is what a guard bounds."""
    return fmean(fmean(not one.observation.same for one in rows[row]) for rows in videos.values())


def _tokens(videos: Videos, row: str) -> float:
    """The mean share of the visual tokens read at prefill."""
    asked = [one.observation for rows in videos.values() for one in rows[row]]
    return fmean(one.read / one.visual for one in asked)


def _signed(number: float, digits: int) -> str:
    return f"{number:+.{digits}f}".replace("-", "−")


def _choice(draw: Sequence[str], tuned: Videos, settings: Sequence[str], target: float) -> str:
    """What `dycoke tune` chooses from these videos: it searches on half of them."""

    def measure(video: str, wanted: Sequence[str], share: float) -> dict[str, list[Observation]]:
        return {row: [one.observation for one in tuned[video][row]] for row in wanted}

    left, measured = halve(settings, draw[::2], measure, target)
    found = cheapest_setting([summarize(row, measured) for row in left], target)
    return BASELINE if found is None else found.setting


def _attempts(rows: Mapping[str, Sequence[Asked]], ladder: Sequence[str]) -> list[list[Attempt]]:
    columns = zip(*(rows[row] for row in ladder), strict=True)
    return [
        [Attempt(one.observation.certainty.least_probability, one.observation.same) for one in each]
        for each in columns
    ]


def _outcome(
    rows: Mapping[str, Sequence[Asked]], ladder: Sequence[str], threshold: float | None
) -> tuple[float, float, float]:
    """Of a video's questions: share changed, tokens that all prefills read, and share correct."""
    by_question = _attempts(rows, ladder)
    read_, right = [], []
    for n, attempts in enumerate(by_question):
        stop = len(attempts) if threshold is None else kept(attempts, threshold)
        tried = [] if threshold is None else [rows[row][n] for row in ladder[: stop + 1]]
        tokens = sum(one.observation.read for one in tried)
        full = rows[BASELINE][n]
        if stop == len(attempts):
            tokens += full.observation.visual
        read_.append(tokens / full.observation.visual)
        right.append((full if stop == len(attempts) else rows[ladder[stop]][n]).right)
    return 0.0 if threshold is None else loss(by_question, threshold), fmean(read_), fmean(right)


@dataclass(frozen=True)
class Guarded:
    """What a guard does on average over random draws of the videos that it is calibrated on."""

    ladder: str  # its name
    alpha: float  # the bound
    on_average: bool  # whether it is promised on average only
    size: int  # videos of a draw
    promised: float  # share of the draws that have a threshold
    held: float  # share of the draws in which the bound held on the videos not drawn
    held_on_test: float | None  # likewise on the test videos; None without any
    changed: float  # share of changed answers on the videos not drawn
    tokens: float  # share of the tokens that all prefills read there
    right: float  # share of correct answers there


def guards_of(
    videos: Videos,
    test: Videos,
    ladders: Mapping[str, Sequence[str]],
    sizes: Sequence[int] = GUARD_SIZES,
) -> Iterator[Guarded]:
    """What guards of these ladders do, for each bound, promise and number of videos drawn."""
    for name, ladder in ladders.items():
        known, tested = _outcomes(videos, ladder), _outcomes(test, ladder)
        for alpha in ALPHAS:
            for mean in (False, True):
                for size in sizes:
                    if size + LEFT <= len(videos):
                        yield _guard(known, tested, name, alpha, mean, size)


Outcomes = Mapping[str, Sequence[tuple[float, float, float]]]
"""Of each video, at each threshold and behind the last with all tokens: loss, tokens, correct."""


def _outcomes(videos: Videos, ladder: Sequence[str]) -> Outcomes:
    return {
        video: [_outcome(rows, ladder, threshold) for threshold in (*THRESHOLDS, None)]
        for video, rows in videos.items()
    }


def _guard(
    videos: Outcomes, test: Outcomes, name: str, alpha: float, mean: bool, size: int
) -> Guarded:
    rng, found, on_test = random.Random(size), [], []
    for _ in range(GUARD_DRAWS):
        drawn = rng.sample(sorted(videos), size)
        risks = [[videos[v][place][0] for v in drawn] for place in range(len(THRESHOLDS))]
        got = calibrated(risks, alpha, on_average=mean).threshold
        place = len(THRESHOLDS) if got is None else THRESHOLDS.index(got)
        rest = [outcomes[place] for video, outcomes in videos.items() if video not in drawn]
        risk, tokens, right = map(fmean, zip(*rest, strict=True))
        found.append((got is not None, risk <= alpha, risk, tokens, right))
        if test:
            on_test.append(fmean(outcomes[place][0] for outcomes in test.values()) <= alpha)
    promised, held, changed, tokens, right = map(fmean, zip(*found, strict=True))
    tested = fmean(on_test) if on_test else None
    return Guarded(name, alpha, mean, size, promised, held, tested, changed, tokens, right)


def _guard_table(videos: Videos, test: Videos, guards: Sequence[Guarded]) -> str:
    fixed = sorted(
        ((_tokens(videos, row), _changed(videos, row), row) for row in _common(videos)),
    )

    def cheapest(one: Guarded) -> str:
        tokens, _, row = next(each for each in fixed if each[1] <= one.changed)
        return f"`{row}`, {_whole(tokens)}"

    columns: dict[str, Callable[[Guarded], str]] = {
        "ladder": lambda one: f"`{one.ladder}`",
        "bound": lambda one: f"{100 * one.alpha:g} %",
        "promise": lambda one: "on average" if one.on_average else "95 %",
        "videos": lambda one: str(one.size),
        "threshold found": lambda one: _whole(one.promised),
        "held on the rest": lambda one: _whole(one.held),
        "held on test videos": lambda x: "" if x.held_on_test is None else _whole(x.held_on_test),
        "changed on the rest": lambda one: f"{100 * one.changed:.1f} %",
        "tokens, all prefills": lambda one: _whole(one.tokens),
        "accuracy": lambda one: f"{100 * one.right:.1f} %",
        "fixed budget that changes no more": cheapest,
    }
    lines = table_lines(columns, guards)
    lines += [
        "",
        f"{GUARD_DRAWS} draws a row from {len(videos)} validation videos, checked on those not "
        f"drawn, and on {len(test)} videos of the test split; if no threshold is found, all "
        "tokens are kept and nothing changes. Measured rates vary, so some draws exceed the bound "
        f"by chance. Full model: {100 * _right(videos, BASELINE):.1f} % correct. "
        f"{MODELS}",
    ]
    return "\n".join(lines)


def _common(videos: Videos) -> list[str]:
    """The rows that all videos have."""
    every = list(videos.values())
    return [row for row in every[0] if all(row in rows for rows in every)]


def _fixed_table(videos: Videos) -> str:
    columns: dict[str, Callable[[str], str]] = {
        "setting": lambda row: f"`{row}`",
        "tokens at prefill": lambda row: _whole(_tokens(videos, row)),
        "changed": lambda row: f"{100 * _changed(videos, row):.1f} %",
        "accuracy": lambda row: f"{100 * _right(videos, row):.1f} %",
    }
    rows = sorted(_common(videos), key=lambda row: _tokens(videos, row))
    lines = table_lines(columns, rows)
    return "\n".join([*lines, "", MODELS])


def signals(videos: Videos, ladders: Mapping[str, Sequence[str]]) -> str:
    """How well certainties tell changed answers from others."""
    rows = [row for ladder in ladders.values() for row in ladder]
    lines = head("signal", *(f"`{row}`" for row in rows))
    for signal, title in SIGNALS.items():
        cells = []
        for row in rows:
            asked = [one.observation for each in videos.values() for one in each[row]]
            same = [getattr(one.certainty, signal) for one in asked if one.same]
            other = [getattr(one.certainty, signal) for one in asked if not one.same]
            cells.append(f"{auroc(same, other):.3f}" if same and other else "")
        lines.append(line(title, *cells))
    changed: list[str] = []
    for row in rows:
        asked_ = [one.observation.same for each in videos.values() for one in each[row]]
        changed.append(f"{100 * (1 - fmean(asked_)):.1f} %")
    return "\n".join([*lines, line("changed answers", *changed)])


def auroc(high: Sequence[float], low: Sequence[float]) -> float:
    """The probability that one of `high` is above one of `low`; ties count half."""
    return fmean((a > b) + (a == b) / 2 for a in high for b in low)


if __name__ == "__main__":
    report(__doc__, lambda: tables(DATA, "shipped", LADDERS) | tables(DATA, "control", LADDERS))
