"""Builds the file of the benchmark `shapes`: scripts and questions of its two splits.

The same file each time. Each version of the benchmark is built once; a new one gets a new number in
`evaluation/datasets/shapes.py`.
"""

from __future__ import annotations

import gzip
import json
from typing import Any

import numpy as np

from dycoke_cli.evaluation.datasets.shapes import FILE
from dycoke_cli.shapes.script import Script, from_json
from training.world.questions import ask
from training.world.scripts import draw_script, to_json
from training.world.wording import Question, question_to_json

VIDEOS = {"validation": 200, "test": 600}
SEED = 20_261_120
# Asked about every video; the rest takes turns.
ALWAYS = ("description", "order", "letter")
LEAST, MOST = 8, 9
LETTERS = "ABCD"


def choose(script: Script, number: int, rng: np.random.Generator) -> list[Question]:
    """Eight or nine questions about a video, of as many kinds; the letters take turns."""
    while True:
        asked = ask(script, rng)
        letter = LETTERS[number % len(LETTERS)]
        fit = [q for q in asked if q.kind != "letter" or q.answer == letter]
        kinds = list(dict.fromkeys(q.kind for q in fit))
        if all(kind in kinds for kind in ALWAYS):
            break
    others = [kind for kind in kinds if kind not in ALWAYS]
    wanted = [*ALWAYS, *others][: int(rng.choice([LEAST, LEAST, MOST]))]
    return [next(q for q in fit if q.kind == kind) for kind in wanted]


def build(index: int) -> dict[str, Any]:
    """The video of that place in the file, with its questions."""
    split, number = ("validation", index) if index < VIDEOS["validation"] else ("test", index)
    number -= 0 if split == "validation" else VIDEOS["validation"]
    # As it is stored, so that questions and pictures are made of the same numbers.
    stored = to_json(draw_script([SEED, index], split))
    questions = choose(from_json(stored), number, np.random.default_rng([SEED, index, 1]))
    video = {"id": f"{split[0]}{number:03d}", "split": split, "script": stored}
    return video | {"questions": [question_to_json(q) for q in questions]}


def write_benchmark() -> int:
    """Writes the file; returns how many questions it has."""
    lines = [build(index) for index in range(sum(VIDEOS.values()))]
    text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
    FILE.write_bytes(gzip.compress(text.encode(), 9, mtime=0))
    return sum(len(line["questions"]) for line in lines)
