"""Letters of answers, as people and models phrase them; read by hand."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from dycoke_cli.answer.thinking import answer_of
from dycoke_cli.evaluation.dataset import Item
from dycoke_cli.evaluation.scoring.rules import chosen, lettered, score_choice

TRICKY = Path(__file__).parent / "tricky"
BENCHMARKS = sorted(path.stem for path in TRICKY.iterdir())

OPTIONS = ("Red star", "Blue star", "A man walks", "Green circle")

PHRASES = {
    "B": "B",
    "b": "B",
    "B.": "B",
    "(B)": "B",
    " (b).\n": "B",
    "**B**": "B",
    '"B"': "B",
    "<B>": "B",
    "A": "A",
    "a": "A",
    "B) Blue star": "B",
    "B. Blue star": "B",
    "b. blue star": "B",
    "(B) Blue star": "B",
    "B: the blue one": "B",
    "C. A man walks": "C",
    "A. Red star.": "A",
    "The answer is B": "B",
    "The answer is (B).": "B",
    "the best answer is: b": "B",
    "The correct answer is\n\n(C) A man walks": "C",
    "The correct option is the letter D.": "D",
    "The answer is A because it is red.": "A",
    "Answer: B. Blue star": "B",
    "Answer\nB": "B",
    "Option C": "C",
    "option (c)": "C",
    "\\boxed{D}": "D",
    "\\boxed{\\text{(D)}}": "D",
    "My choice would be C.": "C",
    "The answer is not A. The answer is B.": "B",
    "B, because it is blue": "B",
    "B is correct": "B",
    "I think it is B": "B",
    "A is correct": "A",
    "I'm sure that B is right": "B",
    "The video shows (D) at its end": "D",
    # An explanation of the others changes nothing.
    "B. Option A is wrong because there is no car.": "B",
    "The answer is B. Option A shows a car instead.": "B",
    "Answer: B\nOption D is impossible.": "B",
    "B, because option C is not shown": "B",
    "<think>A? maybe. Option C?</think>B": "B",
    # Texts of options in place of letters.
    "Blue star": "B",
    "blue star.": "B",
    "A man walks in": "C",
    "Answer: A man walks": "C",
    "It is a green circle, I think": "D",
    "The star is a red star.": "A",
    # Not understood.
    "": None,
    "   ": None,
    "a man": None,  # an article is no letter
    "A woman sits": None,
    "A dog runs after a ball.": None,
    "not sure": None,
    "None of the above": None,
    "E": None,  # there are four
    "The answer is E": None,
    "A, B": None,
    "A and B": None,
    "B or C": None,
    "It is not A but B": "B",
    "It looked like B. B is wrong, there was C": "C",
    "Both (B) and (C)": None,
    "A red star and a blue star": None,  # names two of them
    "vitamin C-rich": None,
    "I": None,
    "I can't see it": None,
    "No answer. A cat sleeps": None,
}


@pytest.mark.parametrize(("said", "letter"), PHRASES.items())
def test_phrases(said: str, letter: str | None) -> None:
    assert chosen(said, OPTIONS) == letter


CHOICES = ("A red ball", "A dog runs", "Two men walk", "Vitamin C")
# In the shapes that users of other evaluators reported as read wrongly.
REPORTED = {
    None: (
        "ANSWER: None of the above", "ANSWER: Don't know", "ANSWER: I don't know", "Can't decide.",
        "Not B", "A) A dog runs", "It's a dog that runs", "A dog runs and two men walk", "B/C",
        "B or C", "Either B or C", "E", "The answer is E.", "A red ball, B dog",
    ),
    "B": (
        "The energy is \\boxed{42}. Answer: B", "\\boxed{\\text{B}}", "\\boxed{B: A dog runs}",
        "\\boxed{ b }", "$\\mathrm{B}$", "the correct option is (b).", "The dog runs",
        "<answer>B</answer>", "<answer>\nB\n</answer>", "[B]", "{B}", "`B`", "“B”", "B、", "B。",
        "答案：（B）", "\ufeffB", "B\u00a0", "**(B)** A dog runs", "### B", "- B", "> B",
        "The answer is option B: a dog runs, not A.", "answer=B", "Probably B.", "𝐁", "Ⓑ",
        "a dog runs.", "Answer:B",
    ),
    "C": (
        "Not A. Not B. It is C.", "It is not A but C.", "\\boxed{A} … no, \\boxed{C}",
        "\\(\\boxed{C}\\)", "After comparing, the answer is C.", "...analysis...\n\nC",
        "C\n\nExplanation: A man walks with B.", "<think>A</think><answer>C</answer>",
        "Answer is: C\u200b",
    ),
    "D": (
        "Answer: It isn't B, the answer is D", "Answer: ruling out C leaves D", "Answer: D, not B",
        "Everything but D is wrong", "\\boxed{\\textbf{(D)}}", "Answer: **D**", "D Vitamin C",
        "We have $\\boxed{\\langle C\\rangle \\ll \\Delta A}$.\n**Answer: D**", "Vitamin C.",
        "I considered (A), which is incorrect. Final answer: D.", "The correct answer is d.",
    ),
}  # fmt: skip


@pytest.mark.parametrize("letter", REPORTED)
def test_reported_answers(letter: str | None) -> None:
    answers = REPORTED[letter]
    assert {said: chosen(said, CHOICES) for said in answers} == dict.fromkeys(answers, letter)


# Letters and options' texts are read in any language, most phrases around them in English.
LANGUAGES = {
    ("Un ballon rouge", "Un chien court"): ("Réponse : B", "(b)", "Le chien court.", "B. Un chien"),
    ("Ein Ball", "Ein Bär läuft"): ("Antwort: B", "Die richtige Antwort ist B.", "Der Bär läuft"),
    ("红色的球", "一只狗在跑"): ("答案是B。", "选B", "一只狗在跑。", "B。一只狗在跑"),
    ("赤いボール", "犬が走っている"): ("答えはBです。", "Bだと思います", "犬が走っているから"),
    ("빨간 공", "개가 달린다"): ("정답은 B입니다.", "B", "개가 달린다고 생각합니다"),
    ("लाल गेंद", "कुत्ता दौड़ता है"): ("उत्तर: B", "कुत्ता दौड़ता है।"),
}


@pytest.mark.parametrize("options", LANGUAGES)
def test_answers_in_the_language_of_the_options(options: tuple[str, ...]) -> None:
    assert [chosen(said, options) for said in LANGUAGES[options]] == ["B"] * len(LANGUAGES[options])
    assert chosen("A / B", options) is None


def test_an_option_in_another_is_not_meant() -> None:
    assert chosen("it is dark red", ("red", "dark red", "blue")) == "B"
    assert chosen("it is red", ("red", "dark red", "blue")) == "A"
    assert chosen("yes", ("yes", "yes")) is None
    assert [chosen(said, ("2", "3", "12")) for said in ("3", "It is 2.", "2.5")] == ["B", "A", None]


def test_options_with_their_letters_are_known_by_their_texts() -> None:
    options = ("A. Apples.", "B. Candles.", "C. Berries.")
    assert chosen("candles", options) == "B"
    assert chosen("There are berries on it", options) == "C"


def test_as_many_letters_as_options() -> None:
    assert chosen("E", (*OPTIONS, "Blue circle")) == "E"
    assert chosen("D", OPTIONS[:3]) is None
    assert lettered(("x", "y"), "({}) {}") == "(A) x\n(B) y"


@pytest.mark.parametrize(
    ("said", "right", "parsed"), [("(b)", True, True), ("A", False, True), ("?", False, False)]
)
def test_what_is_not_understood_is_wrong(said: str, right: bool, parsed: bool) -> None:
    item = Item("1", "v", "What?", "B", "k", "", options=OPTIONS)
    score = score_choice(item, said)
    assert (score.right, score.parsed) == (right, parsed)


@pytest.mark.parametrize(
    ("said", "options", "letter"),
    [
        # What concludes decides, of however many.
        ("The answer is A. Wait, the answer is B. No, the answer is C.", OPTIONS, "C"),
        ("The answer is A. Actually, the answer is D.", OPTIONS, "D"),
        ("The answer is A. The answer is D.", OPTIONS, "D"),
        # A letter behind the last option is none, even where an option's text looks like one.
        ("E", ("F", "E", "G"), None),
        ("The answer is E, a red star", OPTIONS, None),
    ],
)
def test_letters_that_are_announced_one_after_another(
    said: str, options: tuple[str, ...], letter: str | None
) -> None:
    assert chosen(said, options) == letter


@cache
def tricky(benchmark: str) -> list[dict[str, Any]]:
    """Answers to questions of a benchmark, and what a person reads in them (`letter`, null where
    that is none or several)."""
    text = (TRICKY / f"{benchmark}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_tricky_answers_are_read_as_a_person_reads_them(benchmark: str) -> None:
    rows = tricky(benchmark)
    assert len(rows) >= 200
    read = [(chosen(row["said"], row["options"]), row["letter"]) for row in rows]
    assert sum(letter == person for letter, person in read) >= 0.98 * len(rows)
    # An answer that isn't understood is counted as such; another letter is a silent mistake.
    assert sum(letter not in (None, person) for letter, person in read) <= 0.01 * len(rows)


def only_letter(said: str) -> str | None:
    """The one capital letter that stands by itself; None where that may be an article or a name,
    where there are others, or thinking."""
    letters = set(re.findall(r"\b[A-E]\b", said))
    other = re.search(r"A [a-z]|A-frame|itamin C|Plan B|hink", said)
    return letters.pop() if len(letters) == 1 and not other else None


def test_the_table_is_what_a_simpler_reader_says_where_it_can() -> None:
    """The letters of the table don't come from the code under test."""
    plain = [
        (row, letter)
        for benchmark in BENCHMARKS
        for row in tricky(benchmark)
        if (letter := only_letter(row["said"])) is not None
    ]
    assert len(plain) > 300
    assert [row for row, letter in plain if row["letter"] != letter] == []


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("blue", "blue"),
        ("<think>red?</think> blue", "blue"),
        ("red? no.</think>\n\nblue", "blue"),  # the template opened it
        ("<think>red, or", ""),  # cut off by the length
        ("blue <think>or red", "blue"),
        ("<THINKING>red</THINKING>blue", "blue"),
        ("<think>a<think>b</think>c</think>blue", "blue"),
        ("<think>red</think><answer>blue</answer>.", "blue"),
        ("<answer>red</answer> no: <answer>blue", "blue"),
        ("<think></think>", ""),
        ("a < b > c", "a < b > c"),
        ("<b>blue</b>", "<b>blue</b>"),
    ],
)
def test_thinking_is_cut_off(said: str, answer: str) -> None:
    assert answer_of(said) == answer
