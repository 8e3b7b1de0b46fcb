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
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from benchmarks.drawn import drawn
from benchmarks.kept_tables import keep
from benchmarks.page import where
from benchmarks.peers.checkpoint import described
from benchmarks.peers.environments import CHECKPOINT, READY, SET_UP, set_up
from benchmarks.peers.kept import Kept
from benchmarks.peers.runners.line import WARM_UP_FRAMES, WARM_UP_TOKENS, Task
from benchmarks.peers.table import page
from benchmarks.peers.turns import ROWS, ask, in_turns
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
    remark: Annotated[str, typer.Option(help="About this run, for the note.")] = "",
    write: Annotated[bool, typer.Option("--write", help="Into docs/data/tables.")] = False,
) -> None:
    """Set up, or measure and print the table, or one after the other."""
    failed = [] if setup is None else set_up(setup.resolve(), layers)
    for sentence in failed:
        _say(sentence)
    if environments is None:
        raise typer.Exit(bool(failed))
    found = measure(environments.resolve(), frames, tokens, threads or usable_cpus(), runs, remark)
    if write:
        keep(found, "peers")
    else:
        print(found)


def measure(
    environments: Path, frames: int, tokens: int, threads: int, runs: int, remark: str
) -> str:
    """All rounds, as a table with its note."""
    if not (environments / CHECKPOINT / READY).exists():
        raise SystemExit(f"{environments} has no checkpoint; `{SET_UP}` makes it")
    clip, shape, here = drawn(frames), described(environments / CHECKPOINT), where()
    under = {"model": shape, "frames": frames, "tokens": tokens, "threads": threads}
    kept = Kept(environments / "answers.jsonl", under | {"where": here})
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "clip.npy"
        np.save(file, clip.frames)
        times = [*clip.timestamps_s]
        task = Task("", str(file), times, QUESTION, tokens, threads)
        answers, failed = in_turns(ROWS, runs, lambda row: ask(row, environments, task), kept, _say)
    if not answers:
        raise SystemExit("nobody answered")
    _, height, width, _ = clip.frames.shape
    said = [
        f"{shape}; {frames} frames of {width} × {height}, {tokens} new tokens, greedy, {threads} "
        f"thread{'s' * (threads > 1)}; rows that name no weights are float32 throughout (weights, "
        "arithmetic, KV caches), the others as each program computes by default; "
        f"{f'medians of {runs} runs' if runs > 1 else '1 run'}, in turns, each in a process of its "
        f"own, warmed up with {WARM_UP_FRAMES} frames and {WARM_UP_TOKENS} tokens.",
        remark,
        here,
    ]
    return page(f"{frames} frames", answers, failed, " ".join(part for part in said if part))


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)


if __name__ == "__main__":
    typer.run(main)
