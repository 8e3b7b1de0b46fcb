"""The table of answers, and what has to be said about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.peers.runners.line import Answer
from benchmarks.peers.turns import Row
from benchmarks.speed.measured import Measured
from benchmarks.speed.tables import table

STAGES = ("vision", "prefill", "TTFT", "TPOT", "end to end", "peak with weights")
VISUAL = "visual tokens at prefill"


def page(
    title: str,
    answers: Mapping[Row, Sequence[Answer]],
    failed: Mapping[Row, str],
    said: str,
) -> str:
    """The medians as Markdown, and the note below them.

    Args:
        failed: why a row has none.
    """
    every = [answer for found in answers.values() for answer in found]
    known = all(answer.peak is not None for answer in every)
    stages = [stage for stage in (*STAGES, VISUAL) if known or not stage.startswith("peak")]
    rounds = {row.name: [measured(answer) for answer in found] for row, found in answers.items()}
    versions = dict.fromkeys(answer.version for answer in every)
    parts = [
        f"{said} Other tokens of the prompt: {text_tokens(answers)}.",
        f"{'; '.join(versions)}.",
        *(f"{row.name} {why.rstrip('.')}." for row, why in failed.items()),
    ]
    return f"{table(title, rounds, stages)}\n\n{' '.join(parts)}"


def text_tokens(answers: Mapping[Row, Sequence[Answer]]) -> str:
    """How many tokens of the prompt aren't the video's: one number, or one for each program."""
    counted: dict[int, dict[str, None]] = {}
    for row, found in answers.items():
        program = row.name.partition(",")[0]
        for answer in found:
            counted.setdefault(answer.text, {})[program] = None
    if len(counted) == 1:
        return str(*counted)
    return ", ".join(f"{number} ({', '.join(who)})" for number, who in counted.items())


def measured(answer: Answer) -> Measured:
    """As the tables of our own stages take it."""
    return Measured(
        processor=0.0,
        vision=answer.vision,
        prefill=answer.prefill,
        token=answer.token,
        total=answer.total,
        peak=None,
        visual=answer.visual,
        read=0,
        written=answer.written,
        peak_total=answer.peak,
        loading=0.0,  # not in its table: the programs load different files
    )
