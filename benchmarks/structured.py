"""Processor time of an answer of a schema, against a free answer of as many tokens.

Both are asked about a clip that is encoded already, by a published model with random weights, in
turns. Prints a Markdown table; `--write FILE` also puts it between the markers in FILE.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

import torch

from benchmarks.page import ROOT, put, where
from benchmarks.typed import processor_s
from dycoke_cli import DyCoke, Method, Sampling, StructuredOutput, VideoSession, load, read

NAME = "schema"
CLIP = ROOT / "sample_videos" / "turn.mp4"
QUESTION = "What do you see?"
# Strings of a fixed length: a model with random weights ends none.
TEXT = {"type": "string", "minLength": 8, "maxLength": 8}
NUMBER = {"type": "integer", "minimum": 10, "maximum": 99}
SCHEMA = {
    "type": "object",
    "properties": {
        "colour": TEXT,
        "shape": {"enum": ["star", "ball"]},
        "count": NUMBER,
        "moves": {"type": "boolean"},
        "what": TEXT,
    },
    "required": ["colour", "shape", "count", "moves", "what"],
    "additionalProperties": False,
}


def measure(session: VideoSession, method: Method, rounds: int) -> tuple[int, float, float]:
    """Tokens of the answer, and seconds of processor time: with the schema, without (medians)."""
    form = StructuredOutput.from_schema(SCHEMA)
    tokens = session.ask(QUESTION, method, structured=form).tokens.generated
    spent: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for times, structured in zip(spent, (form, None), strict=True):
            began = processor_s()
            answer = session.ask(QUESTION, method, structured=structured, max_new_tokens=tokens)
            times.append(processor_s() - began)
            assert answer.tokens.generated == tokens
    held, free = map(statistics.median, spent)
    return tokens, held, free


def table(model: str, frames: int, rounds: int) -> str:
    """Measure, and say what was measured where."""
    torch.set_num_threads(1)
    loaded = load(model, random_weights=True)
    session = VideoSession(loaded, read(CLIP, Sampling(frames=frames)), reuse=False)
    tokens, held, free = measure(session, DyCoke(), rounds)
    lines = [
        "| tokens | with a schema | free | |",
        "|---|---|---|---|",
        f"| {tokens} | {held:.2f} s | {free:.2f} s | {held / free:.3f} |",
    ]
    size = len(loaded.processor.tokenizer)
    notes = (
        f"Processor time of an answer of five fields and of a free one of as many tokens: {model} "
        f"with random weights in {loaded.dtype} and a vocabulary of {size:,} tokens, `dycoke`, "
        f"{frames} frames that are encoded already, one thread; medians of {rounds} interleaved "
        "runs."
    )
    return "\n".join([*lines, "", f"{notes} {where()}"])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", default="smolvlm2-500m", help="published (smolvlm2-500m)")
    parser.add_argument("--frames", type=int, default=8, help="of the clip (8)")
    parser.add_argument("--rounds", type=int, default=5, help="measurements (5)")
    parser.add_argument("--write", type=Path, help="also write the table into this file")
    arguments = parser.parse_args()
    measured = table(arguments.model, arguments.frames, arguments.rounds)
    print(measured)
    if arguments.write is not None:
        put(measured, NAME, arguments.write)


if __name__ == "__main__":
    main()
