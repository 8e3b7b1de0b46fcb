"""Builds the file of the benchmark `shapes-long`: videos of 2 to 60 minutes, and their questions.

Each has a card, the needle, in one of ten equal parts of its length: its depth. Lengths, cameras
and depths take turns, so that the first videos have some of each.
"""

from __future__ import annotations

import gzip
import json
from typing import Any

import numpy as np

from dycoke_cli.evaluation.datasets.shapes import LONG_FILE
from dycoke_cli.shapes.script import Script, from_json
from training.world.random_scripts import draw_script, long_limits, to_json
from training.world.script_questions import (
    OPTIONS,
    ScriptQuestion,
    ask,
    event_clause,
    question_to_json,
    sentence,
)

VIDEOS = {"validation": 40, "test": 80}
SEED = 20_261_126
LENGTHS_S = (120, 600, 1800, 3600)
CAMERAS = ("static", "dynamic")
DEPTHS = 10
# From one video of a length and camera to the next the depth moves on by this.
DEPTH_STEP = 3


def depth_of(script: Script) -> int | None:
    """In which of ten equal parts of a video its card begins, from 0 on; None without a card."""
    return next((int(e.begin * DEPTHS) for e in script.events if e.deed == "show"), None)


def conditions(number: int) -> tuple[int, str, int]:
    """Length in seconds, camera and depth of the video of a number."""
    turn, kind = divmod(number, len(LENGTHS_S) * len(CAMERAS))
    camera, length = divmod(kind, len(LENGTHS_S))
    depth = (DEPTH_STEP * turn + kind) % DEPTHS
    return LENGTHS_S[length], CAMERAS[camera], depth


def draw(index: int, number: int, split: str) -> Script:
    """The first script drawn with the conditions of a number."""
    length, camera, depth = conditions(number)
    rng = np.random.default_rng([SEED, index])
    while True:
        seed = [int(part) for part in rng.integers(2**31, size=2)]
        # As it is stored, so that questions and pictures are made of the same numbers.
        script = from_json(to_json(draw_script(seed, split, long_limits(length, (camera,)))))
        clauses = [event_clause(script, event) for event in script.events]
        # Told once, each event can be asked about.
        if depth_of(script) == depth and len({*clauses}) == len(clauses):
            return script


def choose(script: Script, number: int, rng: np.random.Generator) -> list[ScriptQuestion]:
    """One question of each kind: three about the needle, the others about all that happens."""
    (card,) = (event_clause(script, event) for event in script.events if event.deed == "show")
    letter = OPTIONS[number % len(OPTIONS)]
    found: dict[str, ScriptQuestion] = {}
    while len(found) < len(KINDS):
        for question in ask(script, rng):
            kind = _kind(question, card)
            if kind in KINDS and (kind != "letter" or question.answer == letter):
                found.setdefault(kind, ScriptQuestion(kind, question.text, question.answer))
    return [found[kind] for kind in KINDS]


KINDS = (
    "needle", "needle place", "needle order", "order", "letter", "action", "count", "description",
)  # fmt: skip


def _kind(question: ScriptQuestion, card: str) -> str:
    """The question's kind, as this benchmark has them."""
    if question.kind == "needle":
        return "needle" if question.answer == sentence(card) else ""
    if question.kind == "position":
        return "needle place" if "card" in question.text else ""
    about_card = card.lower() in f"{question.text} {question.answer}".lower()
    if question.kind == "order" and about_card:
        return "needle order"
    if question.kind == "count":
        return "count" if "happen" in question.answer else ""
    return question.kind


def build(index: int) -> dict[str, Any]:
    """The video of that place in the file, with its questions."""
    split, number = ("validation", index) if index < VIDEOS["validation"] else ("test", index)
    number -= 0 if split == "validation" else VIDEOS["validation"]
    script = draw(index, number, split)
    questions = choose(script, number, np.random.default_rng([SEED, index, 1]))
    video = {"id": f"{split[0]}{number:03d}", "split": split, "script": to_json(script)}
    return video | {"questions": [question_to_json(q) for q in questions]}


def write_long_benchmark() -> int:
    """Writes the file; returns how many questions it has."""
    lines = [build(index) for index in range(sum(VIDEOS.values()))]
    text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
    LONG_FILE.write_bytes(gzip.compress(text.encode(), 9, mtime=0))
    return sum(len(line["questions"]) for line in lines)
