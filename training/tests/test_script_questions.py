"""Answers, checked against what an independent witness of the clip says."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest

from dycoke_cli.shapes.script import Script
from tests.shapes.oracle import THING, Oracle
from training.world.random_scripts import ScriptLimits, draw_script
from training.world.script_questions import KINDS, ScriptQuestion, ask, ask_the_unknown

CLIPS = 75
CLAUSE = r"(?:after|before) [^?,]*"


@pytest.fixture(scope="module")
def asked() -> list[tuple[Script, Oracle, ScriptQuestion]]:
    found = []
    for i in range(CLIPS):
        script = draw_script([i, 21], "train")
        oracle = Oracle(script)
        found += [(script, oracle, q) for q in ask(script, np.random.default_rng(i))]
    return found


@pytest.mark.parametrize("kind", [k for k in KINDS if k != "unknown"])
def test_answers_are_those_of_the_witness(asked, kind: str) -> None:
    """So every question has one answer, too."""
    questions = [(oracle, q) for _, oracle, q in asked if q.kind == kind]
    assert len(questions) > CLIPS / 3
    for oracle, q in questions:
        assert oracle.answer(q.text, q.earlier) == q.answer, q


def test_claims_stand_in_the_question_and_are_true_or_not(asked) -> None:
    truths = Counter()
    for _, oracle, q in asked:
        for claim in q.claims if q.kind != "letter" else ():
            assert claim.text in q.text or claim.text.capitalize() in q.text
            happened = claim.text in oracle.clauses
            there = bool(oracle.called(re.sub("^(the|an?) ", "", claim.text)))
            assert claim.true == (happened or there), q
            truths[claim.true] += 1
    assert min(truths.values()) > 0.1 * truths.total()


def test_half_of_what_is_asked_for_is_there(asked) -> None:
    said = [q.answer[:3] for _, _, q in asked if q.text.split()[0] in ("Is", "Do", "Does")]
    assert said.count("Yes") == said.count("No,") == CLIPS


def test_questions_are_written_as_people_write(asked) -> None:
    for script, _, q in asked:
        first_line = q.text.split("\n")[0]
        assert q.text[0].isupper()
        assert first_line[-1] in "?."
        assert not re.search(r"  | [?.,]|\{|\ba orange|\ban [^o]", q.text)
        assert not re.search(r"  | [?.,]|\{|\ba orange|\ban [^o]", q.answer)
        assert (q.kind == "subtitles") == any(name in q.text for name, _ in script.names)


@pytest.mark.parametrize("kind", [k for k in KINDS if k != "unknown"])
def test_a_kind_is_asked_about_in_several_wordings(asked, kind: str) -> None:
    lines = [q.text.replace("\n", " ").partition(" A. ")[0] for _, _, q in asked if q.kind == kind]
    wordings = Counter(re.sub(rf"{CLAUSE}|{THING}", "…", line) for line in lines)
    assert sum(times > 2 for times in wordings.values()) >= 3


def test_letters_are_balanced_and_claim_one_option(asked) -> None:
    letters = Counter(q.answer for _, _, q in asked if q.kind == "letter")
    assert sorted(letters) == ["A", "B", "C", "D"]
    assert min(letters.values()) > 0.2 * letters.total()
    for _, _, q in asked:
        if q.kind == "letter":
            assert "ABCD"[[c.true for c in q.claims].index(True)] == q.answer
            assert [c.true for c in q.claims].count(True) == 1


def test_elsewhere_every_question_has_the_one_answer() -> None:
    script = draw_script([1, 21], "train")
    usual = ask(script, np.random.default_rng(1))
    unknown = ask_the_unknown(script, np.random.default_rng(1))
    assert [(q.text, q.earlier) for q in unknown] == [(q.text, q.earlier) for q in usual]
    assert {(q.kind, q.answer) for q in unknown} == {("unknown", "I only know moving shapes.")}


def test_a_clip_without_events_is_asked_about_what_is_there() -> None:
    kinds: set[str] = set()
    for i in range(20):
        script = draw_script([i, 21], "train", ScriptLimits((0, 0), 1))
        oracle = Oracle(script)
        for q in ask(script, np.random.default_rng(i)):
            assert oracle.answer(q.text) == q.answer
            kinds.add(q.kind)
    assert not kinds & {"order", "description", "follow-up"}
    assert "letter" in kinds
