"""Processor time of answers that are held to a form, against free answers of as many tokens.

Each is asked about a clip that is encoded already, by a published model with random weights, in
turns with the free one. Prints a Markdown table; `--write FILE` also puts it between the markers
in FILE.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping
from pathlib import Path

import torch

from benchmarks.page import ROOT, put, where
from benchmarks.typed import processor_s
from dycoke_cli import DyCoke, Method, Sampling, StructuredOutput, VideoSession, load, read
from dycoke_cli.models.prompts.tool_calls import CallMarks
from dycoke_cli.server.forced_call import ForcedCall
from dycoke_cli.server.strict_calls import StrictCalls

NAME = "schema"
CLIP = ROOT / "sample_videos" / "turn.mp4"
QUESTION = "What do you see?"
TEXT_TOKENS = 96  # a text ends at its limit, other forms by themselves
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
TOOL = {"type": "function", "function": {"name": "report", "parameters": SCHEMA}}


def forms(added: Mapping[str, int]) -> dict[str, StructuredOutput]:
    """What is compared with a free answer, by the names in the table."""
    marks = CallMarks("<tool_call>", "</tool_call>", added)
    return {
        "schema of five fields": StructuredOutput.from_schema(SCHEMA),
        "forced call of a tool with this schema": ForcedCall((TOOL,), named=False).form(),
        "text that may call it, with `strict`": StrictCalls((TOOL,)).form(marks),
    }


def measure(
    session: VideoSession, method: Method, form: StructuredOutput, rounds: int
) -> tuple[int, float, float]:
    """Tokens of the answer, and seconds of processor time: with the form, without (medians)."""
    most = 256 if form.is_whole else TEXT_TOKENS
    tokens = session.ask(QUESTION, method, structured=form, max_new_tokens=most).tokens.generated
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
    words = loaded.processor.tokenizer
    lines = ["| form | tokens | with it | free | |", "|---|---|---|---|---|"]
    for name, form in forms(words.get_added_vocab()).items():
        tokens, held, free = measure(session, DyCoke(), form, rounds)
        lines.append(f"| {name} | {tokens} | {held:.2f} s | {free:.2f} s | {held / free:.3f} |")
    size = len(words)
    notes = (
        f"Processor time of an answer of the form and of a free one of as many tokens: {model} "
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
