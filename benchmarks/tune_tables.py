"""The tables of docs/tune.md, from kept answers alone: random draws of the videos asked."""

from __future__ import annotations

import json
import lzma
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from benchmarks.raw_answers import SUFFIX, read_answers
from dycoke_cli.evaluation.datasets import open_dataset
from dycoke_cli.guard.calibration import Try, calibrate, kept, loss
from dycoke_cli.json_schema import from_dict
from dycoke_cli.tuning.observation import Observation
from dycoke_cli.tuning.search import choose, halve, standing

BASELINE = "none"
TUNE_DRAWS, GUARD_DRAWS = 50, 100
SIZES = (10, 20, 40)
GUARD_SIZES = (30, 40, 60, 120)
TARGETS = (0.85, 0.9, 0.95, 0.98)
ALPHAS = (0.05, 0.1)
NEAR = 0.02
LEFT = 10
"""Videos that a draw of the guard must leave to check it on."""
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


def read(path: Path) -> Videos:
    """The answers of a file of `benchmarks.tune`."""
    dataset = open_dataset("shapes")
    items = {item.id: item for item in dataset.items("validation")}
    found: dict[str, dict[str, list[Asked]]] = defaultdict(lambda: defaultdict(list))
    with lzma.open(path, "rt", encoding="utf-8") as lines:
        next(lines)
        for line in map(json.loads, lines):
            item = items[line.pop("item")]
            video, row = line.pop("video"), line.pop("row")
            observation = from_dict(Observation, line | {"question": item.question})
            right = dataset.score(item, observation.answer).right
            found[video][row].append(Asked(observation, right))
    return found


def tables(data: Path, name: str, ladders: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """The tables of a model, by the names of their places in the page."""
    videos = read(data / f"tune-{name}{SUFFIX}")
    return {
        f"tune-{name}": _tune(videos, data / name / f"whole{SUFFIX}"),
        f"guard-{name}": _guards(videos, ladders),
        f"signals-{name}": _signals(videos, ladders),
    }


def _tune(videos: Videos, whole: Path) -> str:
    """How good the choices of random draws are on the test split."""
    raw = read_answers(whole)
    accuracy = {row: fmean(one.right for one in said.values()) for row, said in raw.answers.items()}
    most = max(len(rows) for rows in videos.values())
    tuned = {v: rows for v, rows in videos.items() if len(rows) == most}
    settings = [row for row in next(iter(tuned.values())) if row != BASELINE and row in accuracy]
    every = [
        {row: [one.observation for one in rows[row]] for row in rows} for rows in tuned.values()
    ]
    costs = {row: standing(row, every).cost for row in settings} | {BASELINE: 1.0}
    full = accuracy[BASELINE]
    best = min((row for row in costs if accuracy[row] >= full - NEAR), key=lambda row: costs[row])
    lines = [
        "| videos | target | within 2 points | accuracy − full, points | tokens read | more than "
        "the best fixed | baseline chosen | L = 3 chosen |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for size in SIZES:
        if size > len(tuned):
            continue
        for target in TARGETS:
            rng = random.Random(size)
            chosen = [
                _choice(rng.sample(sorted(tuned), size), tuned, settings, target)
                for _ in range(TUNE_DRAWS)
            ]
            near = fmean(accuracy[row] >= full - NEAR for row in chosen)
            moved = 100 * fmean(accuracy[row] - full for row in chosen)
            read_ = 100 * fmean(costs[row] for row in chosen)
            lines.append(
                f"| {size} | {100 * target:g} % | {100 * near:.0f} % "
                f"| {_signed(moved, 1)} | {read_:.0f} % "
                f"| {_signed(read_ - 100 * costs[best], 0)} points | "
                f"{100 * fmean(row == BASELINE for row in chosen):.0f} % | "
                f"{100 * fmean('prune_layer=3' in row for row in chosen):.0f} % |"
            )
    lines += [
        "",
        f"{TUNE_DRAWS} draws a row from {len(tuned)} validation videos, {len(settings)} settings "
        f"({', '.join(f'`{row}`' for row in settings)}); accuracy on the test split, of which "
        f"nothing is chosen ({len(raw.items)} questions, full {100 * full:.1f} %). The cheapest "
        f"setting within 2 points, known from those labels, is `{best}` ({100 * costs[best]:.0f} % "
        "of the tokens read).",
    ]
    return "\n".join(lines)


def _signed(number: float, digits: int) -> str:
    return f"{number:+.{digits}f}".replace("-", "−")


def _choice(draw: Sequence[str], tuned: Videos, settings: Sequence[str], target: float) -> str:
    """What `dycoke tune` chooses from these videos: it searches on half of them."""

    def measure(video: str, wanted: Sequence[str]) -> dict[str, list[Observation]]:
        return {row: [one.observation for one in tuned[video][row]] for row in wanted}

    left, measured = halve(settings, draw[::2], measure, target)
    found = choose([standing(row, measured) for row in left], target)
    return BASELINE if found is None else found.setting


def _climbs(rows: Mapping[str, Sequence[Asked]], ladder: Sequence[str]) -> list[list[Try]]:
    columns = zip(*(rows[row] for row in ladder), strict=True)
    return [
        [Try(one.observation.certainty.least_probability, one.observation.same) for one in each]
        for each in columns
    ]


def _outcome(
    rows: Mapping[str, Sequence[Asked]], ladder: Sequence[str], threshold: float | None
) -> tuple[float, float]:
    """Share of the tokens that all prefills of a video's questions read, and accuracy."""
    read_, right = [], []
    for n, climb in enumerate(_climbs(rows, ladder)):
        stop = len(climb) if threshold is None else kept(climb, threshold)
        tried = [] if threshold is None else [rows[row][n] for row in ladder[: stop + 1]]
        tokens = sum(one.observation.read for one in tried)
        full = rows[BASELINE][n]
        if stop == len(climb):
            tokens += full.observation.visual
        read_.append(tokens / full.observation.visual)
        right.append((full if stop == len(climb) else rows[ladder[stop]][n]).right)
    return fmean(read_), fmean(right)


def _guards(videos: Videos, ladders: Mapping[str, Sequence[str]]) -> str:
    lines = [
        "| ladder | bound | promise | videos | threshold found | held on the rest | changed there "
        "| tokens, all prefills | accuracy | full |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    sizes = [size for size in GUARD_SIZES if size + LEFT <= len(videos)]
    for name, ladder in ladders.items():
        for alpha in ALPHAS:
            for mean in (False, True):
                for size in sizes:
                    lines.append(_guard(videos, name, ladder, alpha, mean, size))
    lines += [
        "",
        f"{GUARD_DRAWS} draws a row from {len(videos)} validation videos, checked on those not "
        "drawn; a draw without a threshold keeps all tokens, and holds. The rest is a sample as "
        "well: it passes the bound now and then where the true risk doesn't.",
    ]
    return "\n".join(lines)


def _guard(
    videos: Videos, name: str, ladder: Sequence[str], alpha: float, mean: bool, size: int
) -> str:
    rng, found = random.Random(size), []
    for _ in range(GUARD_DRAWS):
        drawn = set(rng.sample(sorted(videos), size))
        got = calibrate([_climbs(videos[v], ladder) for v in drawn], alpha, on_average=mean)
        rest = [rows for video, rows in videos.items() if video not in drawn]
        risk = 0.0
        if got.threshold is not None:
            risk = fmean(loss(_climbs(rows, ladder), got.threshold) for rows in rest)
        outcomes = [_outcome(rows, ladder, got.threshold) for rows in rest]
        found.append((got.threshold is not None, risk, *map(fmean, zip(*outcomes, strict=True))))
    promised, risks, tokens, right = zip(*found, strict=True)
    full = fmean(one.right for rows in videos.values() for one in rows[BASELINE])
    return (
        f"| `{name}` | {100 * alpha:g} % | {'on average' if mean else '95 %'} | {size} | "
        f"{100 * fmean(promised):.0f} % | {100 * fmean(risk <= alpha for risk in risks):.0f} % | "
        f"{100 * fmean(risks):.1f} % | {100 * fmean(tokens):.0f} % | {100 * fmean(right):.1f} % | "
        f"{100 * full:.1f} % |"
    )


def _signals(videos: Videos, ladders: Mapping[str, Sequence[str]]) -> str:
    rows = [row for ladder in ladders.values() for row in ladder]
    lines = [
        f"| signal | {' | '.join(f'`{row}`' for row in rows)} |",
        "| --- |" + " --- |" * len(rows),
    ]
    for signal, title in SIGNALS.items():
        cells = []
        for row in rows:
            asked = [one.observation for each in videos.values() for one in each[row]]
            same = [getattr(one.certainty, signal) for one in asked if one.same]
            other = [getattr(one.certainty, signal) for one in asked if not one.same]
            cells.append(f"{_auroc(same, other):.3f}" if same and other else "")
        lines.append(f"| {title} | {' | '.join(cells)} |")
    changed: list[str] = []
    for row in rows:
        asked_ = [one.observation.same for each in videos.values() for one in each[row]]
        changed.append(f"{100 * (1 - fmean(asked_)):.1f} %")
    return "\n".join([*lines, f"| changed answers | {' | '.join(changed)} |"])


def _auroc(high: Sequence[float], low: Sequence[float]) -> float:
    """The probability that one of `high` is above one of `low`; ties count half."""
    return fmean((a > b) + (a == b) / 2 for a in high for b in low)
