"""The table of checked sentences against the kept probabilities, and one cell counted by hand."""

from __future__ import annotations

import json
import lzma

import numpy as np

from benchmarks.checked_sentences import KEPT, NAME, asked
from benchmarks.kept_tables import read_table
from dycoke_cli.evaluation.datasets.shapes import Shapes
from training.world.script_questions import event_clause
from training.world.statements import KINDS, statements


def test_a_cell_by_hand() -> None:
    with lzma.open(KEPT, "rt") as file:
        _, *lines = map(json.loads, file)
    found = false = 0
    for line in lines:
        if line["method"] == "none" and line["shown"] == line["video"]:
            pairs = zip(asked(line["video"]), line["probabilities"], strict=True)
            of_false = [p for one, p in pairs if not one.true]
            false += len(of_false)
            found += sum(p is not None and p < 0.5 for p in of_false)
    heading, *rows = read_table(f"{NAME}.1")
    cell = next(row for row in rows if row[0] == "0.5")[heading.index("none: false found, %")]
    assert cell.startswith(f"{100 * found / false:.1f} ± ")


def test_sentences_are_as_true_as_they_say() -> None:
    for video in Shapes().videos("test", 20):
        script = Shapes().script(video["id"])
        made = statements(script, np.random.default_rng(1))
        assert sum(one.true for one in made) * 2 == len(made)
        assert {one.kind for one in made} <= {*KINDS}
        happens = {event_clause(script, event) for event in script.events}
        things = {f"{thing.colour} {thing.shape}" for thing in script.things}
        things |= {
            f"{event.colour} {script.things[event.thing].shape}"
            for event in script.events
            if event.deed == "turn"
        }
        for one in made:
            said = one.text[0].lower() + one.text[1:].removesuffix(".")
            if one.kind == "event":
                assert (said in happens) == one.true
            if one.kind == "thing":
                assert (" ".join(said.split()[-2:]) in things) == one.true
            if one.kind == "count":
                word = ("one", "two", "three", "four", "five", "six")[len(script.things) - 1]
                assert (f" {word} " in said) == one.true
