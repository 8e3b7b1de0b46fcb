"""Scripts and questions as JSON come back as they were."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest

from dycoke_cli.shapes.render import render
from dycoke_cli.shapes.script import from_json
from training.world.random_scripts import DECIMALS, content, draw_script, long_limits, to_json
from training.world.script_questions import ask, question_to_json


def test_a_script_comes_back_to_the_last_decimal() -> None:
    for i in range(50):
        script = draw_script([i, 3], "train")
        back = from_json(json.loads(json.dumps(to_json(script))))
        assert from_json(json.loads(json.dumps(to_json(back)))) == back
        assert content(back) == content(script)
        assert (back.names, back.label, back.seed) == (script.names, script.label, script.seed)
        for stored, drawn in zip(back.events, script.events, strict=True):
            assert stored.begin == pytest.approx(drawn.begin, abs=0.5 * 10**-DECIMALS)
            assert (stored.deed, stored.thing, stored.way) == (drawn.deed, drawn.thing, drawn.way)


def test_its_pictures_and_questions_are_the_same() -> None:
    for i in range(5):
        script = draw_script([i, 3], "train")
        back = from_json(json.loads(json.dumps(to_json(script))))
        a, b = (render(s, np.linspace(0, 1, 5), 64).astype(int) for s in (script, back))
        assert np.abs(a - b).mean() < 0.5
        assert ask(back, np.random.default_rng(i)) == ask(script, np.random.default_rng(i))


def test_a_question_is_stored_without_its_claims() -> None:
    script = draw_script([2, 3], "train")
    asked = ask(script, np.random.default_rng(0))
    assert any(q.earlier for q in asked)
    for question in asked:
        stored = json.loads(json.dumps(question_to_json(question)))
        earlier = tuple((q, a) for q, a in stored.pop("earlier", ()))
        assert earlier == question.earlier
        assert stored == {"kind": question.kind, "text": question.text, "answer": question.answer}


@pytest.mark.parametrize(
    ("split", "clip", "long"),
    [
        ("train", "02309fe2f5f40991", "9573d59d76c5cacd"),
        ("validation", "cf735ed81e7dd65e", "707a5304e124e42d"),
        ("test", "f649003d85616411", "93a80ee8d11ba3d7"),
        ("samples", "406d61851a2dbcbf", "5c23a2b2275f43b1"),
    ],
)
def test_a_seed_gives_the_scripts_and_questions_that_it_gave(
    split: str, clip: str, long: str
) -> None:
    """As in `training/` before this was in the package: the bundled model learned from those."""
    for limits, expected in ((None, clip), (long_limits(600), long)):
        drawn = [draw_script([7, n], split, limits) for n in range(3)]
        asked = [
            question_to_json(question)
            for script in drawn
            for question in ask(script, np.random.default_rng(1))
        ]
        stored = json.dumps([[to_json(script) for script in drawn], asked])
        assert hashlib.sha256(stored.encode()).hexdigest()[:16] == expected
