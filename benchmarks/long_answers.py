"""Command line of what is asked about `shapes-long`, with the answers in docs/data.

A model is asked video by video, and an interrupted run resumes. Tables are made of the answers,
without a model.
"""

from __future__ import annotations

import argparse
import json
import lzma
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.json_lines import append_line, read_lines
from benchmarks.kept_tables import keep
from benchmarks.page import ROOT, machine
from benchmarks.shapes_long_rules import TOKENS
from benchmarks.shapes_long_tables import DATA, SUFFIX
from dycoke_cli.compression.bound import BoundMethod
from dycoke_cli.engine.session import VideoSession
from dycoke_cli.engine.windowed_video import read_windows
from dycoke_cli.evaluation.dataset import Item
from dycoke_cli.evaluation.datasets.shapes_long import EDITION, ShapesLong
from dycoke_cli.evaluation.eval_request import BUNDLED
from dycoke_cli.evaluation.scoring.statistics import grouped
from dycoke_cli.models.load import LoadedModel, load
from dycoke_cli.stock.quiet import silence_libraries
from dycoke_cli.version import running_commit
from dycoke_cli.video import Clip
from dycoke_cli.video.frame_windows import WINDOW, split

OUT = ROOT / "runs" / "answers"
DTYPE = "float32"
KINDS = ("needle", "needle place", "needle order", "order", "letter")
"""That are asked: those whose answers are short, and told by one or two events."""
Lines = Iterator[dict[str, Any]]


@dataclass(frozen=True)
class Measurement:
    """What is asked, and where it goes."""

    kind: str  # begins the names of its files; that of the model follows
    # gives the lines of a video: the model, the benchmark and the questions about it
    measured: Callable[[LoadedModel, ShapesLong, Sequence[Item]], Lines]
    # makes Markdown of the files in a folder, by the name of its kept tables
    tables: Callable[[Path], Mapping[str, str]]


def answers(row: str, session: VideoSession, items: Sequence[Item], method: Any) -> Lines:
    """A line for each question about a video, one after the other."""
    for item in items:
        answer = session.ask(item.question, method)
        right, tokens = ShapesLong().score(item, answer.answer).right, answer.tokens.visual_kept
        said = {"tokens": tokens, "said": answer.answer, "right": right}
        yield {"row": row, "item": item.id, **said}


def windowed_session(
    loaded: LoadedModel, method: BoundMethod, clip: Clip, size: int = WINDOW, **limit: Any
) -> VideoSession:
    """A video that was read in windows of `size` frames, with a limit of `read_windows`."""
    blank, windows = split(clip, size)
    windowed = read_windows(loaded, method, blank, windows, size, **limit)
    return VideoSession(loaded, blank, windowed=windowed)


def ask(measurement: Measurement, arguments: argparse.Namespace) -> Path:
    """Measure the videos that aren't measured yet; returns the file of what was."""
    silence_libraries()
    loaded = load(arguments.model, dtype=DTYPE)
    dataset = ShapesLong()
    file = OUT / f"{measurement.kind}-{arguments.name}.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    done = {line["video"] for line in read_lines(file) if "video" in line}
    if not done:
        append_line(
            file,
            {"benchmark": dataset.name, "edition": EDITION, "split": "test", "budget": TOKENS}
            | {"name": arguments.name, "model": loaded.identity}
            | {"commit": running_commit(), "machine": machine()},
        )
    items = [item for item in dataset.items("test") if item.kind in KINDS]
    by_video = grouped(items, lambda item: item.video)
    for video in [*by_video][: arguments.videos]:
        if video not in done:
            with torch.inference_mode():
                lines = [*measurement.measured(loaded, dataset, by_video[video])]
            append_line(file, {"video": video, "lines": lines})
            print(f"{arguments.name}: {video}", file=sys.stderr)
    return file


def export(file: Path, data: Path) -> Path:
    """Write the compressed file of what a run has measured, and return its path."""
    header, *videos = read_lines(file)
    lines = [header, *({"video": v["video"], **line} for v in videos for line in v["lines"])]
    text = "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines)
    path = data / f"{file.stem}{SUFFIX}"
    path.write_bytes(lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME))
    return path


def run(measurement: Measurement, about: str | None) -> None:
    """Ask a model, and write its answers into docs/data; or make the tables, as the flags say."""
    parser = argparse.ArgumentParser(description=(about or "").partition("\n")[0])
    parser.add_argument("--model", default=BUNDLED.model, help="another checkpoint folder")
    parser.add_argument("--name", default="shipped", help="of the model in tables (shipped)")
    parser.add_argument("--videos", type=int, help="at most (all of these lengths)")
    parser.add_argument("--report", action="store_true", help="make the tables of docs/data")
    parser.add_argument("--write", action="store_true", help="with --report: into docs/data/tables")
    arguments = parser.parse_args()
    if not arguments.report:
        print(export(ask(measurement, arguments), DATA), file=sys.stderr)
        return
    for name, text in measurement.tables(DATA).items():
        if arguments.write:
            keep(text, name)
        else:
            print(text)
