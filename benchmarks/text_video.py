"""The table of what compression costs two language models, on a "video of text".

A frame is a passage: the same one in all frames, but for one sentence of one frame, which has a
fact that is asked for. What changes from frame to frame is kept, as EVS keeps it in windows of
eight frames, and of all other tokens those of a window's first frame alone.

`python -m benchmarks.text_video` prints the tables of the answers in docs/data, `--write` puts them
into docs/data/tables. The answers were measured by the command of this name at commit 8e867062.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

from benchmarks.cells import PLUS_MINUS, table_lines
from benchmarks.kept_answers import shown, tables_of
from benchmarks.kept_tables import report

FRAMES = (2, 4, 16)
_NAMES = {
    "kept": "what changes",
    "merged": "what changes, the others merged into it",
    "weighed": "the same, proportional attention",
    "random": "as many tokens at random",
}
Row = tuple[int, float, str, str, Sequence[Mapping[str, Any]]]
"""Frames, share of tokens kept, what is kept, its positions, and the answers."""


def _but_whole(cell: Callable[[Row], str], of_whole: str) -> Callable[[Row], str]:
    return lambda row: of_whole if row[2] == "whole" else cell(row)


_COLUMNS: dict[str, Callable[[Row], str]] = {
    "frames": lambda row: str(row[0]),
    "tokens kept": _but_whole(lambda row: f"{100 * row[1]:.0f} %", "100 %"),
    "what is kept": _but_whole(lambda row: _NAMES[row[2]], "the whole video"),
    "positions": _but_whole(lambda row: "original" if row[3] == "kept" else "contiguous", ""),
    "same first token, %": _but_whole(
        lambda row: shown([100 * one["first"] for one in row[4]], 1), "100"
    ),
    "same token, %": _but_whole(
        lambda row: shown([100 * one["same"] / one["steps"] for one in row[4]], 1), "100"
    ),
    "divergence, nats per token": _but_whole(
        lambda row: shown([one["divergence"] / one["steps"] for one in row[4]], 3), "0"
    ),
    "fact found, %": lambda row: shown([100 * one["right"] for one in row[4]], 1),
}


def table(answers: bytes) -> str:
    """Agreement, divergence and facts found by row and number of frames, as Markdown."""
    header, *lines = map(json.loads, answers.splitlines())
    answered = Counter(line["passage"] for line in lines)
    videos = [line for line in lines if answered[line["passage"]] == len(FRAMES)]
    commits = {str(one["commit"]) for one in (header, *videos) if "commit" in one}
    per_frame = fmean(one["tokens"] / one["frames"] for one in videos)
    below = (
        f"{len(videos) // len(FRAMES)} passages of {per_frame:.0f} tokens on average. ± is "
        f"{PLUS_MINUS} passages, of one model. `{header['model']}` ({header['layers']} layers) "
        f"in float32. {header['machine']}, commit {', '.join(sorted(commits))}."
    )
    return "\n".join([*table_lines(_COLUMNS, _rows(videos)), "", below])


def _rows(videos: Sequence[Mapping[str, Any]]) -> Iterator[Row]:
    for frames in FRAMES:
        of_frames = [one for one in videos if one["frames"] == frames]
        share = fmean(one["kept"] / one["tokens"] for one in of_frames)
        found: dict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
        for row in (row for one in of_frames for row in one["rows"]):
            found[row["kind"], row["positions"]].append(row)
        for (kind, positions), rows in found.items():
            yield frames, share, kind, positions, rows


if __name__ == "__main__":
    report(__doc__, lambda: tables_of("text-video", table))
