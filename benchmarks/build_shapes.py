"""Builds the file of the benchmark `shapes`: scripts and questions of its two splits.

`python -m benchmarks.build_shapes` writes the same file each time. Each edition of the benchmark is
built once; a new one gets a new number in `evaluation/datasets/shapes.py`.
"""

from __future__ import annotations

import gzip
import json
from typing import Any

import numpy as np

from dycoke_cli.evaluation.datasets.shapes import FILE
from dycoke_cli.shapes.questions.ask import ask
from dycoke_cli.shapes.questions.question import Question
from dycoke_cli.shapes.stored import from_json, question_to_json, to_json
from dycoke_cli.shapes.world.director import draw_script
from dycoke_cli.shapes.world.script import Script

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


def main() -> None:
    """Write the file."""
    lines = [build(index) for index in range(sum(VIDEOS.values()))]
    text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
    FILE.write_bytes(gzip.compress(text.encode(), 9, mtime=0))
    asked = sum(len(line["questions"]) for line in lines)
    print(f"{FILE.name}: {len(lines)} videos, {asked} questions, {FILE.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
