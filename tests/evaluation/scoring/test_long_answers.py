"""Processor time of reading answers that are long, repetitive or made to be slow."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import pytest

from dycoke_cli.answer import thinking
from dycoke_cli.evaluation.scoring import judge, rules
from dycoke_cli.evaluation.scoring.rules import chosen

OPTIONS = ("Red star", "Blue star", "A man walks", "Green circle", "(E) 5")
LONG = 100_000
LIMIT = 3.0
"""Seconds of processor time, some ten times what a text takes. Quadratic patterns take longer."""

# Begins a match, is repeated, and ends without one.
RUNS = [
    (begin, run)
    for begin in ("", "A", "A,", "answer", "the first option", "the red", "```json", "第")
    for run in (" ", "\n ")
] + [
    ("A", run)
    for run in (", ", "(", '"', "'_", "or ", "no ", "hmm, ", "option ", "<b>", "~~x", "<think>")
]  # fmt: skip
MODULES = rules, judge, thinking
# These end at a letter or at the end of an answer, and search some characters before it.
BEFORE_A_LETTER = {"_ANNOUNCING", "_DENYING"}
# Compared with a whole text, or matched at a position.
ANCHORED = {"_ALONE", "_FENCED", "_PRAISED", "_BLAMED"}
PATTERNS = {
    f"{module.__name__.rpartition('.')[2]}.{name}": value
    for module in MODULES
    for name, value in vars(module).items()
    if isinstance(value, re.Pattern)
}


def seconds(call: Callable[[], object]) -> float:
    began = time.process_time()
    call()
    return time.process_time() - began


def repeated(begin: str, run: str, length: int) -> str:
    return f"{begin}{run * (length // len(run))}x"


@pytest.mark.parametrize("name", PATTERNS)
def test_every_pattern_reads_runs_in_linear_time(name: str) -> None:
    pattern, own_name = PATTERNS[name], name.partition(".")[2]
    length = 200 if own_name in BEFORE_A_LETTER else 10_000
    read = pattern.fullmatch if own_name in ANCHORED else pattern.findall
    for begin, run in RUNS:
        text = repeated(begin, run, length)
        taken = seconds(lambda text=text: read(text))  # type: ignore[misc]
        assert taken < LIMIT / 10, (begin, run)


@pytest.mark.parametrize(
    ("begin", "run"),
    [
        ("A", ", "),  # exponential in the number of commas
        ("A. Red star", " "),
        ("", "(" * 1000 + "C. "),
        ("", "\x06'\x06)\x06 \x00(\x00B\x00)\x00 \x00H\x06D\x06J\x06 \x00A\x00.\x00'"),
        ("", "The answer is not A, "),
        ("B. ", "No, wait, "),
    ],
)
def test_an_answer_is_read_in_bounded_time(begin: str, run: str) -> None:
    text = repeated(begin, run, LONG)
    assert seconds(lambda: chosen(text, OPTIONS)) < LIMIT


def test_beginning_and_end_of_a_long_answer_count() -> None:
    filler = "The video shows a street with cars and people. " * 2000
    assert chosen(f"{filler}So the answer is B.", OPTIONS) == "B"
    assert chosen(f"C. {filler}", OPTIONS) == "C"
    assert chosen(f"A. {filler} Wait, no, the answer is D.", OPTIONS) == "D"
    assert chosen(filler, OPTIONS) is None


def test_texts_of_options_are_searched_in_linear_time() -> None:
    pattern = rules._texts(OPTIONS)
    for begin in ("", "the red", "a man the"):
        text = repeated(begin, " ", 10_000)
        assert seconds(lambda text=text: pattern.findall(text)) < LIMIT / 10  # type: ignore[misc]


def test_replies_of_judges_take_no_longer() -> None:
    reply = f"```json{' ' * 4900}1{' ' * 4900}x"
    with pytest.raises(ValueError, match="dictionary"):
        judge.CAPTION.parse(reply)
    assert judge.CAPTION.parse('```json\n {"score": 3} \n```') == (None, 3.0)
