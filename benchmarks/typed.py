"""Processor time of typed questions, against that of the prefill alone.

Each is asked about a clip of 32 frames that is encoded already, with and without compression, in
turns. Prints a Markdown table; `--write FILE` also puts it between the markers in FILE.
"""

from __future__ import annotations

import argparse
import os
import statistics
from pathlib import Path
from typing import Any

import torch

from benchmarks.page import ROOT, put, where
from dycoke_cli import DyCoke, Method, Sampling, VideoSession, load, read
from dycoke_cli.engine.typed_options import OpenNumber, TypedOptions

NAME = "cost"
CLIP = ROOT / "sample_videos" / "turn.mp4"
QUESTION = "How many shapes are there?"
FRAMES = 32
ASKED = 10  # questions in a row, which together are one measurement
TEN = tuple(
    f"{verb} {way}"
    for verb in ("moves", "turns")
    for way in ("up", "down", "left", "right", "first")
)
# A prefill is an answer of one token.
QUESTIONS: dict[str, dict[str, Any]] = {
    "prefill": {"max_new_tokens": 1},
    "`--yes-no`": {"typed": TypedOptions.yes_no()},
    "`--choices` with ten options of two tokens": {"typed": TypedOptions(TEN)},
    "`--number`": {"typed": OpenNumber()},
}


def processor_s() -> float:
    """Processor time of this process, in seconds."""
    times = os.times()
    return times.user + times.system


def measure(session: VideoSession, method: Method, rounds: int) -> dict[str, float]:
    """Seconds of processor time per question: medians."""
    spent: dict[str, list[float]] = {name: [] for name in QUESTIONS}
    for _ in range(rounds):
        for name, options in QUESTIONS.items():
            began = processor_s()
            for _ in range(ASKED):
                session.ask(QUESTION, method, **options)
            spent[name].append((processor_s() - began) / ASKED)
    return {name: statistics.median(times) for name, times in spent.items()}


def table(rounds: int) -> str:
    """Measure, and say what was measured where."""
    torch.set_num_threads(1)
    session = VideoSession(load("mini"), read(CLIP, Sampling(frames=FRAMES)), reuse=False)
    methods = {"`dycoke`": DyCoke(), "`none`": Method()}
    for method in methods.values():
        session.ask(QUESTION, method)  # what a process does only once
    times = {name: measure(session, method, rounds) for name, method in methods.items()}
    lines = [f"| | {' | | '.join(methods)} | |", "|---|" + "---|---|" * len(methods)]
    for question in QUESTIONS:
        cells = [
            f"{1000 * own[question]:.0f} ms | {own[question] / own['prefill']:.2f}"
            for own in times.values()
        ]
        lines.append(f"| {question} | {' | '.join(cells)} |")
    notes = (
        f"Processor time per question, and as a multiple of the prefill's: bundled model, {FRAMES} "
        f"frames that are encoded already, one thread; medians of {rounds} interleaved runs."
    )
    return "\n".join([*lines, "", f"{notes} {where()}"])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=8, help="measurements (default: 8)")
    parser.add_argument("--write", type=Path, help="also write the table into this file")
    arguments = parser.parse_args()
    measured = table(arguments.rounds)
    print(measured)
    if arguments.write is not None:
        put(measured, NAME, arguments.write)


if __name__ == "__main__":
    main()
