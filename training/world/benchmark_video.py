"""A video of the benchmark `shapes`: its script and eight or nine questions, as they are stored."""

from __future__ import annotations

from typing import Any

import numpy as np

from dycoke_cli.shapes.script import Script, from_json
from training.world.random_scripts import to_json
from training.world.script_questions import OPTIONS, ScriptQuestion, ask, question_to_json

# Asked about every video; the other kinds take turns.
ALWAYS = ("description", "order", "letter")
LEAST, MOST = 8, 9


def benchmark_video(
    video: str, split: str, number: int, script: Script, rng: np.random.Generator
) -> dict[str, Any]:
    """A video as plain data, with the keys `id`, `split`, `script` and `questions`."""
    stored = to_json(script)
    # Questions and pictures are made of the same numbers: the stored ones, which are rounded.
    questions = _choose(from_json(stored), OPTIONS[number % len(OPTIONS)], rng)
    asked = [question_to_json(question) for question in questions]
    return {"id": video, "split": split, "script": stored, "questions": asked}


def _choose(script: Script, letter: str, rng: np.random.Generator) -> list[ScriptQuestion]:
    """Questions of as many kinds; that with options has a given letter as its answer."""
    while True:
        asked = ask(script, rng)
        fit = [q for q in asked if q.kind != "letter" or q.answer == letter]
        kinds = list(dict.fromkeys(q.kind for q in fit))
        if all(kind in kinds for kind in ALWAYS):
            break
    others = [kind for kind in kinds if kind not in ALWAYS]
    wanted = [*ALWAYS, *others][: int(rng.choice([LEAST, LEAST, MOST]))]
    return [next(q for q in fit if q.kind == kind) for kind in wanted]
