"""OpenVINO GenAI and llama.cpp beside `dycoke`: the tables of the kept answers.

The program that set them up and asked them in turns is `benchmarks/peers` of commit cbed753d.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from benchmarks.json_lines import read_lines
from benchmarks.kept_tables import report
from benchmarks.raw_answers import DATA, SUFFIX
from benchmarks.speed.measured import Measured
from benchmarks.speed.tables import table

KEPT = DATA / f"peers{SUFFIX}"
WARM_UP_FRAMES, WARM_UP_TOKENS = 4, 2
STAGES = ("vision", "prefill", "TTFT", "TPOT", "end to end", "peak with weights")
VISUAL = "visual tokens at prefill"


@dataclass(frozen=True)
class Answer:
    """What was measured of one answer.

    Args:
        vision: seconds from frames to what the language model reads.
        prefill: seconds from there to the first token.
        token: seconds for each token after that.
        total: seconds for all of it.
        peak: bytes resident at the worst moment, weights included; None where Linux doesn't say.
        visual: tokens of the video that the language model read.
        text: other tokens of the prompt.
        written: tokens of the answer.
        version: of the program.
    """

    vision: float
    prefill: float
    token: float
    total: float
    peak: int | None
    visual: int
    text: int
    written: int
    version: str


def made_again(file: Path = KEPT) -> dict[str, str]:
    """The text of each table, by its name."""
    by_table = groupby(read_lines(file), lambda line: str(line["table"]))
    return {name: _made([*lines]) for name, lines in by_table}


def _made(lines: Sequence[Mapping[str, Any]]) -> str:
    head, *rows = lines
    answers: dict[str, list[Answer]] = {}
    for line in rows:
        answers.setdefault(line["row"], []).append(Answer(**line["answer"]))
    return page(head["under"], answers, head["failed"])


def page(
    under: Mapping[str, Any], answers: Mapping[str, Sequence[Answer]], failed: Mapping[str, str]
) -> str:
    """The medians as Markdown, and the note below them.

    Args:
        under: what holds for all: `model`, `frames`, `side`, `tokens`, `threads`, `where`, and
            `remark`, which may be empty.
        answers: by row.
        failed: why a row has none.
    """
    every = [answer for found in answers.values() for answer in found]
    known = all(answer.peak is not None for answer in every)
    stages = [stage for stage in (*STAGES, VISUAL) if known or not stage.startswith("peak")]
    rounds = {row: [measured(answer) for answer in found] for row, found in answers.items()}
    runs, threads = max(map(len, answers.values())), under["threads"]
    versions = dict.fromkeys(answer.version for answer in every)
    parts = [
        f"{under['model']}; {under['frames']} frames of {under['side']} × {under['side']}, "
        f"{under['tokens']} new tokens, greedy, {threads} thread{'s' * (threads > 1)}; rows that "
        "name no weights are float32 throughout (weights, arithmetic, KV caches), the others as "
        f"each program computes by default; {f'medians of {runs} runs' if runs > 1 else '1 run'}, "
        f"in turns, each in a process of its own, warmed up with {WARM_UP_FRAMES} frames and "
        f"{WARM_UP_TOKENS} tokens.",
        under["remark"],
        under["where"],
        f"Other tokens of the prompt: {text_tokens(answers)}.",
        f"{'; '.join(versions)}.",
        *(f"{row} {why.rstrip('.')}." for row, why in failed.items()),
    ]
    title = f"{under['frames']} frames"
    return f"{table(title, rounds, stages)}\n\n{' '.join(part for part in parts if part)}"


def text_tokens(answers: Mapping[str, Sequence[Answer]]) -> str:
    """How many tokens of the prompt aren't the video's: one number, or one for each program."""
    counted: dict[int, dict[str, None]] = {}
    for row, found in answers.items():
        program = row.partition(",")[0]
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


if __name__ == "__main__":
    report(__doc__, made_again)
