"""Tables of what is kept of needles and answered in long videos, made of the lines in docs/data.

`python -m benchmarks.shapes_long` prints them, `--write` puts them into docs/data/tables. The
answers about videos of 2 to 60 minutes at 512 tokens were measured by the command of this name, and
those in windows of 16, 32 and 64 frames by `benchmarks.window_sizes`, at commit afec0c02; those of
all rules with contiguous positions by `benchmarks.long_controls` at commit f49bb2af, their seconds
by `benchmarks.long_seconds` at commit 9a2a600b.
"""

from __future__ import annotations

import json
import lzma
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.cells import PLUS_MINUS, head, line
from benchmarks.comparison_tables import BY_HOLM, compared, with_holm
from benchmarks.kept_tables import DATA, report
from dycoke_cli.evaluation.dataset import Item
from dycoke_cli.evaluation.datasets.shapes import ShapesLong
from dycoke_cli.evaluation.scoring.statistics import (
    clustered_mean,
    p_value,
    plus_minus,
    shown_mean,
)
from dycoke_cli.video.clip import WINDOW
from training.world.long_benchmark import DEPTHS, depth_of

SUFFIX = ".jsonl.xz"
IN_WINDOWS = "dycoke-plus in windows"
AT_LEAST = (1, 4)
"""Of recall: so many of the tokens that show the card are kept."""


@dataclass(frozen=True)
class Measured:
    """What was measured of a model."""

    header: Mapping[str, Any]  # of the file
    # by rule and video: how many tokens are kept that show the card
    card: Mapping[str, Mapping[str, int]]
    right: Mapping[str, Mapping[str, bool]]  # by row and question: whether the answer is correct
    # likewise the visual tokens that the language model read
    tokens: Mapping[str, Mapping[str, int]]
    items: Sequence[Item]  # the questions, in the benchmark's order
    base: str  # the row that all others are compared with

    @property
    def videos(self) -> list[str]:
        """The videos, in the benchmark's order."""
        return list(dict.fromkeys(item.video for item in self.items))


def read_measured(file: Path, base: str = "uniform") -> Measured:
    """What a file has; all its rows are compared with one."""
    with lzma.open(file, "rt", encoding="utf-8") as lines:
        header, *rest = map(json.loads, lines)
    card: dict[str, dict[str, int]] = {}
    right: dict[str, dict[str, bool]] = {}
    tokens: dict[str, dict[str, int]] = {}
    for one in rest:
        if "item" in one:
            right.setdefault(one["row"], {})[one["item"]] = one["right"]
            tokens.setdefault(one["row"], {})[one["item"]] = one["tokens"]
        else:
            card.setdefault(one["rule"], {})[one["video"]] = one["card"]
    every = ShapesLong().items(header["split"])
    return Measured(header, card, right, tokens, [i for i in every if i.id in right[base]], base)


def tables(data: Path) -> dict[str, str]:
    """The tables of every model that was measured, by the name of the kept ones."""
    made = {}
    for file in sorted(data.glob(f"window-sizes-*{SUFFIX}")):
        one = read_measured(file, f"{WINDOW} frames")
        name = f"window-sizes-{one.header['name']}"
        made[name] = "\n".join([*answers_by_length(one), "", footer(one)])
    for file in sorted(data.glob(f"long-*{SUFFIX}")):
        one = read_measured(file)
        lines = [
            "Correct answers in percent, by length.\n",
            *answers_by_length(one),
            "\nCorrect answers in percent, by kind of question.\n",
            *answers_by_kind(one),
            "\nQuestions about the needle (what, where, before or after what), by its depth.\n",
            *answers_by_depth(one),
        ]
        needles = [
            "\nShare of the needles (cards of 3 to 8 s) of which at least one token is kept, and "
            "at least four, in percent.\n",
            *recall_by_length(one),
            "\nAt least one, by depth (tenth of the video) and by camera.\n",
            *recall_by_depth(one),
        ]
        lines += needles if one.card else []
        if IN_WINDOWS in one.right:
            lines.append("\nThe same, beside what `--video-tokens` reads.\n")
            lines += answers_by_length(replace(one, base=IN_WINDOWS))
        lines.append(f"\n{footer(one)}")
        made[f"long-{one.header['name']}"] = "\n".join(lines)
    if (file := data / f"seconds-long{SUFFIX}").is_file():
        made["seconds-long"] = seconds_by_rule(file)
    return made


def seconds_by_rule(file: Path) -> str:
    """How long the first answer about a video takes by each rule: means over videos, in seconds.

    Lines have `seconds` by stage, of all frames and of those that `uniform` reads.
    """
    with lzma.open(file, "rt", encoding="utf-8") as lines:
        header, *videos = map(json.loads, lines)
    by_minutes = _by(videos, lambda one: _minutes(one["video"]))
    *others, longest = by_minutes
    stages = ("drawing", "vision", "selection", "answer")
    rows = head("rule", *(f"{longest}: {stage}" for stage in stages), *(longest, *others[::-1]))
    for rule in dict.fromkeys(one["row"] for one in videos[0]["lines"]):
        cells = [_stages(video, rule) for video in by_minutes[longest]]
        parts = [statistics.fmean(stage) for stage in zip(*cells, strict=True)]
        sums = (
            statistics.fmean(sum(_stages(video, rule)) for video in by_minutes[length])
            for length in (longest, *others[::-1])
        )
        rows.append(line(rule, *(f"{value:.2f}" for value in (*parts, *sums))))
    few = ", ".join(f"{len(of)} of {length}" for length, of in by_minutes.items())
    return "\n".join(
        [
            f"Seconds of the first answer, means over videos ({few}); a frame per second, drawn "
            "while it is read. Frames that are alike are encoded once: few differ where the camera "
            "is fixed.\n",
            *rows,
            f"\n{header['name']}, {header['budget']} visual tokens, {header['model']['dtype']}. "
            f"{header['machine']}, commit {header['commit']}.",
        ]
    )


def _stages(video: Mapping[str, Any], rule: str) -> tuple[float, float, float, float]:
    """Seconds of drawing the frames, of the tower, of the choice, and of the first answer."""
    first = next(one for one in video["lines"] if one["row"] == rule)
    taken = video["seconds"]
    answer = first["prefill"] + first["decode"]
    if rule == "uniform":
        return taken["uniform, decode"], first["vision"], 0.0, answer
    return taken["decode"], taken["vision"], taken[f"{rule}, selection"], answer


def recall_by_length(one: Measured) -> list[str]:
    """Rows by rule, columns by length and number of tokens."""
    groups = _by(one.videos, _minutes)
    columns = [(f"{group}, {least}+", group, least) for group in groups for least in AT_LEAST]
    made = head("rule", *(name for name, *_ in columns))
    for row, kept in one.card.items():
        cells = [
            _share([float(kept[video] >= least) for video in groups[group]])
            for _, group, least in columns
        ]
        made.append(line(row, *cells))
    return made


def recall_by_depth(one: Measured) -> list[str]:
    """Rows by rule, columns by depth and camera."""
    groups = _by(one.videos, _depth) | _by(one.videos, _camera)
    made = head("rule", *groups)
    for row, kept in one.card.items():
        cells = [_share([float(kept[video] > 0) for video in of]) for of in groups.values()]
        made.append(line(row, *cells))
    return made


def answers_by_length(one: Measured) -> list[str]:
    """Rows by rule: tokens read, correct answers by length and in all, difference from the base."""
    groups = _by(one.items, lambda item: _minutes(item.video))
    made = head("rule", "tokens", *groups, "all", f"difference from {one.base}")
    gaps = _gaps(one)
    for row in one.right:
        tokens = sum(one.tokens[row].values()) / len(one.tokens[row])
        cells = [_correct(one, row, items) for items in [*groups.values(), one.items]]
        made.append(line(row, f"{tokens:.0f}", *cells, gaps.get(row, "")))
    return made


def answers_by_kind(one: Measured) -> list[str]:
    """Rows by rule, columns by kind of question."""
    return _answers(one, _by(one.items, lambda item: item.kind))


def answers_by_depth(one: Measured) -> list[str]:
    """Rows by rule, columns by depth; questions about the needle alone."""
    about = [item for item in one.items if item.kind.startswith("needle")]
    return _answers(one, _by(about, lambda item: _depth(item.video)))


def _answers(one: Measured, groups: Mapping[str, Sequence[Item]]) -> list[str]:
    made = head("rule", *groups)
    for row in one.right:
        made.append(line(row, *(_correct(one, row, items) for items in groups.values())))
    return made


def footer(one: Measured) -> str:
    """What was measured, and where."""
    header, lengths = one.header, _by(one.videos, _minutes)
    of_each = ", ".join(f"{len(videos)} of {name}" for name, videos in lengths.items())
    return (
        f"± is {PLUS_MINUS} videos, clustered by video; the model was trained once. "
        f"*: {BY_HOLM}, over all rows of the table. "
        f"{len(one.videos)} videos ({of_each}), "
        f"{len(one.items)} questions each row, test split of `shapes-long`, edition "
        f"{header['edition']}; budget {header['budget']} visual tokens, 16 tokens per frame, "
        "float32. No row reads all tokens of the video. "
        f"{header['machine']}, commit {header['commit']}."
    )


def _by(ones: Sequence[Any], key: Callable[[Any], str]) -> dict[str, list[Any]]:
    """Groups by a key, in the order of their names as numbers."""
    groups: dict[str, list[Any]] = {}
    for one in ones:
        groups.setdefault(key(one), []).append(one)
    return dict(sorted(groups.items(), key=lambda group: (len(group[0]), group[0])))


def _minutes(video: str) -> str:
    return f"{ShapesLong().script(video).seconds / 60:.0f} min"


def _depth(video: str) -> str:
    depth = depth_of(ShapesLong().script(video))
    assert depth is not None, "each has a card"
    return f"{depth + 1}/{DEPTHS}"


def _camera(video: str) -> str:
    return ShapesLong().script(video).label


def _correct(one: Measured, row: str, items: Sequence[Item]) -> str:
    values = [float(one.right[row][item.id]) for item in items]
    return _share(values, [item.video for item in items])


def _share(values: Sequence[float], videos: Sequence[str] | None = None) -> str:
    """A mean in percent with its error; each value is a video's own unless they are named."""
    mean, error = shown_mean(values, videos or [str(i) for i in range(len(values))])
    if mean is None:
        return ""
    return f"{100 * mean:.0f}" + ("" if error is None else f" ± {100 * error:.0f}")


def _gaps(one: Measured) -> dict[str, str]:
    """Of each row but the base, its difference from it in points, marked as `footer` says."""
    videos = [item.video for item in one.items]
    count = len({*videos})
    pairs = {}
    for row in one.right:
        gaps = [float(one.right[row][i.id]) - one.right[one.base][i.id] for i in one.items]
        gap, error = clustered_mean(gaps, videos)
        if row != one.base:
            pairs[row] = {
                "difference": gap,
                "difference_plus_minus": plus_minus(error, count) or 0.0,
                "difference_p": p_value(gap, error, count),
            }
    with_holm(pairs)
    return {row: compared(pair) for row, pair in pairs.items()}


if __name__ == "__main__":
    report(__doc__, lambda: tables(DATA))
