"""Tables of peers, seeds and lengths."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.cells import Document
from benchmarks.event_lengths import EVENTS, by_length, lengths_of
from benchmarks.json_lines import append_line, read_lines
from benchmarks.seed_tables import seeds_table
from dycoke_cli.evaluation.dataset import Item
from dycoke_cli.evaluation.datasets.shapes import Shapes
from dycoke_cli.shapes.script import Event, Script, Thing


def document(accuracy: float, lost: float, videos: int = 10) -> Document:
    """Of a model that loses so much with a quarter of its tokens drawn at random."""
    base = {"spec": "none", "accuracy": accuracy, "plus_minus": 0.01, "difference": None}
    row = {
        "spec": "random:retain=0.25",
        "method": "random",
        "parameters": {},
        "kept_before_llm": 0.25,
        "accuracy": accuracy + lost,
        "plus_minus": 0.01,
        "difference": lost,
        "difference_plus_minus": 0.005,
    }
    return {"videos": videos, "rows": [base, row]}


def test_mean_and_standard_deviation_between_models() -> None:
    found = seeds_table({"a": document(0.8, -0.06), "b": document(0.82, -0.12)})
    # Of two: the mean, and their distance / √2.
    assert found.splitlines() == [
        "| row | kept | a | b | mean | between models |",
        "| --- | --- | --- | --- | --- | --- |",
        "| baseline |  | 80.0 ± 1.0 % | 82.0 ± 1.0 % | 81.0 % | 1.4 |",
        "| `random` | 25 % | −6.0 ± 0.5 | −12.0 ± 0.5 | −9.0 | 4.2 |",
    ]


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


def test_half_a_line_spoils_no_other(tmp_path: Path) -> None:
    file = tmp_path / "lines.jsonl"
    assert [*read_lines(file)] == []
    append_line(file, {"a": "é"})
    with file.open("a") as opened:
        opened.write('{"torn')
    append_line(file, {"b": 2})
    append_line(file, {"c": 3})
    assert [*read_lines(file)] == [{"a": "é"}, {"b": 2}, {"c": 3}]
    assert file.read_bytes().count(b"\n") == 4
