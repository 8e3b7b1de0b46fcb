"""Scripts and questions as JSON come back as they were."""

from __future__ import annotations

import json

import numpy as np
import pytest

from dycoke_cli.shapes.render import render
from dycoke_cli.shapes.script import from_json
from training.world.questions import ask
from training.world.scripts import DECIMALS, content, draw_script, to_json
from training.world.wording import question_to_json


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
