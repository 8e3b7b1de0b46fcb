"""Times every way to answer in turn, in one process, and prints the medians.

The flags, as of `make bench`, are lists of heats: a heat is a number of frames, answered from
frames to the last token ("whole") or by the language model alone ("language"), in some rounds:
`32x3` is 32 frames in three. Weights are random: time and memory are the same. What was measured is
kept in a file, so that an interrupted run resumes; what another commit or machine
measured doesn't count.
"""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.json_lines import replace_lines
from benchmarks.kept_tables import keep, name_here
from benchmarks.page import ROOT, cores, where
from benchmarks.speed.course import Course
from benchmarks.speed.journal import Journal
from benchmarks.speed.kept import KEPT
from benchmarks.speed.plots import write_plot
from benchmarks.speed.tables import OF_PART, page
from dycoke_cli.kernels.processor import instructions, is_slow_in_bfloat16

TABLES = {"whole": "speed", "language": "language", "pruning": "pruning-{}", "rules": "rules"}
"""Names of the kept tables of a part, without the machine; the model's is in one of them."""
PICTURE = ROOT / "docs" / "speed.png"


def main(
    model: Annotated[str, typer.Option(help="A published configuration, or a model.")] = (
        "llava-onevision-0.5b"
    ),
    frames: Annotated[
        list[str] | None, typer.Option(help="Whole answers to so many, x rounds; repeat it.")
    ] = None,
    language_frames: Annotated[
        list[str] | None, typer.Option("--language", help="The language model alone; repeat it.")
    ] = None,
    pruning_frames: Annotated[
        list[str] | None,
        typer.Option("--pruning", help="Decode pruning or not, after TTM; repeat it."),
    ] = None,
    rules_frames: Annotated[
        list[str] | None,
        typer.Option("--rules", help="Rules that read about as many tokens; repeat it."),
    ] = None,
    tokens: Annotated[int, typer.Option(min=2, help="Of an answer.")] = 32,
    dtype: Annotated[
        str | None,
        typer.Option(
            help="Of the weights; otherwise bfloat16 where the processor has instructions for it, "
            "and float32 where it hasn't."
        ),
    ] = None,
    int8: Annotated[bool, typer.Option(help="Quantized models, too.")] = True,
    journal: Annotated[Path, typer.Option(help="Gets what is measured.")] = (
        ROOT / "runs" / "speed.jsonl"
    ),
    write: Annotated[bool, typer.Option("--write", help="Into docs/data and docs.")] = False,
) -> None:
    """Measure, and print a table a heat."""
    # All of them first: a slip in the last one shouldn't show when the others have run.
    wanted = {
        part: [_heat(text) for text in texts or []]
        for part, texts in (
            ("whole", frames),
            ("language", language_frames),
            ("pruning", pruning_frames),
            ("rules", rules_frames),
        )
    }
    if dtype is None:
        dtype = "float32" if is_slow_in_bfloat16(instructions()) else "bfloat16"
    course = Course(model, Journal(journal), tokens, where(), dtype)
    of_part = {
        part: {count: course.run(part, count, rounds, int8=int8) for count, rounds in heats}
        for part, heats in wanted.items()
    }
    for part, heats in of_part.items():
        if not heats:
            continue
        text = page(course.heat(part, 0), OF_PART[part], heats)
        print(text)
        if write:
            name = name_here(TABLES[part].format(model))
            keep(text, name)
            lines = (course.lines(part, *heat, int8=int8) for heat in wanted[part])
            replace_lines(KEPT, name, chain.from_iterable(lines))
    if write and len(of_part["whole"]) > 1:
        write_plot(of_part["whole"], cores(), PICTURE)


def _heat(text: str) -> tuple[int, int]:
    """Frames and rounds of "32x3"."""
    frames, _, rounds = text.partition("x")
    if not (frames.isdigit() and rounds.isdigit() and int(frames) and int(rounds)):
        raise typer.BadParameter(f"{text!r} isn't frames x rounds, as 32x3")
    return int(frames), int(rounds)


if __name__ == "__main__":
    typer.run(main)
