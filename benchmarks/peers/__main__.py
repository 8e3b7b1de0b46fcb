"""Times other programs beside ours: OpenVINO GenAI and llama.cpp, on one checkpoint and clip.

`python -m benchmarks.peers --setup DIR` writes a checkpoint of Qwen3-VL's shape with random weights
(1 billion parameters, 4 GB) and makes a virtual environment for each peer, with the checkpoint in
its form: 5 GB each, 10 to 40 minutes, most of them to build llama.cpp (a C++ compiler and CMake are
needed). What is set up already stays. `python -m benchmarks.peers --environments DIR --write`
measures, and writes the table into docs/speed.md; an interrupted run resumes. Each answer is
one of a new process, whose memory is then its own; programs take turns.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks.drawn import SIDE, drawn
from benchmarks.kept_tables import keep, name_here
from benchmarks.page import where
from benchmarks.peers.checkpoint import described
from benchmarks.peers.environments import CHECKPOINT, READY, SET_UP, set_up
from benchmarks.peers.kept import Journal, keep_answers
from benchmarks.peers.runners.line import WARM_UP_FRAMES, Answer, Task
from benchmarks.peers.table import page
from benchmarks.peers.turns import ROWS, Row, ask, in_turns
from benchmarks.speed.measuring import QUESTION
from dycoke_cli.resources import usable_cpus


def main(
    setup: Annotated[
        Path | None, typer.Option(help="Make the environments in this folder.")
    ] = None,
    layers: Annotated[
        int | None, typer.Option(min=1, help="With --setup: of the model, for a trial.")
    ] = None,
    environments: Annotated[
        Path | None, typer.Option(help="Measure with those of this folder.")
    ] = None,
    frames: Annotated[int, typer.Option(min=WARM_UP_FRAMES)] = 8,
    tokens: Annotated[int, typer.Option(min=2, help="Of an answer.")] = 33,
    threads: Annotated[int | None, typer.Option(min=1, help="All usable CPUs if not set.")] = None,
    runs: Annotated[int, typer.Option(min=1)] = 3,
    row: Annotated[
        list[str] | None, typer.Option(help="Of this name, in place of all; repeat it.")
    ] = None,
    remark: Annotated[str, typer.Option(help="About this run, for the note.")] = "",
    write: Annotated[bool, typer.Option("--write", help="Into docs/data/tables.")] = False,
) -> None:
    """Set up, or measure and print the table, or one after the other."""
    failed = [] if setup is None else set_up(setup.resolve(), layers)
    for sentence in failed:
        _say(sentence)
    if environments is None:
        raise typer.Exit(bool(failed))
    folder = environments.resolve()
    if not (folder / CHECKPOINT / READY).exists():
        raise SystemExit(f"{folder} has no checkpoint; `{SET_UP}` makes it")
    under = {
        "model": described(folder / CHECKPOINT),
        "frames": frames,
        "side": SIDE,
        "tokens": tokens,
        "threads": threads or usable_cpus(),
        "where": where(),
        "remark": remark,
    }
    rows = [each for each in ROWS if each.name in (row or [each.name])]
    answers, failures = measure(folder, under, runs, rows)
    if not answers:
        raise SystemExit("nobody answered")
    found = page(under, answers, failures)
    print(found)
    if write:
        name = name_here("peers")
        keep(found, name)
        keep_answers(name, under, answers, failures)


def measure(
    environments: Path, under: Mapping[str, Any], runs: int, rows: Sequence[Row]
) -> tuple[dict[str, list[Answer]], dict[str, str]]:
    """All rounds: answers by row, and why a row has none."""
    journal, clip = Journal(environments / "answers.jsonl", under), drawn(under["frames"])
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "clip.npy"
        np.save(file, clip.frames)
        given = str(file), [*clip.timestamps_s], QUESTION, under["tokens"], under["threads"]
        task = Task("", *given)

        def answer(row: Row) -> Answer:
            return ask(row, environments, task)

        answers, failed = in_turns(rows, runs, answer, journal, _say)
    return (
        {row.name: found for row, found in answers.items()},
        {row.name: why for row, why in failed.items()},
    )


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)


if __name__ == "__main__":
    typer.run(main)
