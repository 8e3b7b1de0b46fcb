"""Which event a question of `shapes` is about, and how many frames it lasts, against a script."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.event_lengths import EVENTS, by_length, lengths_of
from dycoke_cli.evaluation.dataset import Item
from dycoke_cli.evaluation.datasets.shapes import Shapes
from dycoke_cli.shapes.script import Event, Script, Thing


def item(key: str, answer: str, options: tuple[str, ...] = ()) -> Item:
    kind = "letter" if options else "order"
    return Item(key, "v", "What happens?", answer, kind, "static", options=options)


@pytest.fixture(scope="module")
def script() -> Script:
    things = (
        Thing("circle", "red", 0.1, (0, 0), (0.0, 0.0), 0),
        Thing("star", "blue", 0.1, (1, 1), (0.0, 0.0), 0),
    )
    events = (
        Event("spin", 0.1, 0.2, thing=0),
        Event("bounce", 0.4, 0.8, thing=1),
        Event("turn", 0.85, 0.95, thing=1, colour="green"),
        Event("spin", 0.96, 0.99, thing=0),
    )
    stored = Shapes().script("t000")
    return Script(things, events, stored.scenes, stored.camera, stored.label, 10.0)


def test_a_question_has_the_length_of_the_event_that_answers_it(script: Script) -> None:
    asked = [
        item("sentence", "The blue star bounces."),
        item("letter", "C", ("The blue star spins.", "It is red.", "The blue star turns green.")),
        item("no event", "It is a blue star."),
        item("twice", "The red circle spins."),
    ]
    found = lengths_of(asked, lambda video: script, 32)
    assert found == {"sentence": pytest.approx(0.4 * 31), "letter": pytest.approx(0.1 * 31)}


def test_every_length_is_in_one_column() -> None:
    belongs = by_length({"a": 2.9, "b": 3.0, "c": 4.39, "d": 4.4, "e": 12.0})
    columns = [
        [key for key in "abcdef" if is_in(item(key, ""))] for is_in in belongs.values()
    ]  # fmt: skip
    assert columns == [["a"], ["b", "c"], ["d", "e"]]  # of f nothing is known
    assert [*belongs] == [*EVENTS]


def test_of_stored_questions_those_about_order_have_an_event() -> None:
    dataset = Shapes()
    items = dataset.items("test", 20)
    found = lengths_of(items, dataset.script, 32)
    order = [one for one in items if one.kind == "order" and not one.answer.startswith("Nothing")]
    assert len({one.id for one in order} & {*found}) > 0.9 * len(order) > 12
    # Events of the benchmark take at least two intervals of 32 frames.
    assert min(found.values()) >= 2
    assert np.quantile([*found.values()], 0.25) < 4.4 < max(found.values())
