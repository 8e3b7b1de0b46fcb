"""How long the event lasts that a question of `shapes` is about, in frames that the model reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from dycoke_cli.evaluation.dataset import Item
from dycoke_cli.evaluation.scoring.rules import LETTERS
from dycoke_cli.shapes.script import Script
from training.world.script_questions import event_clause, sentence

# A quarter of 32 frames are 4.4 apart, so what lasts less may lie between two of them.
EVENTS = {
    "an event of less than 3 frames": (0.0, 3.0),
    "of 3 to 4.4 frames": (3.0, 4.4),
    "of more": (4.4, float("inf")),
}
"""Lengths in frames, least and most, by their heading in tables."""


def lengths_of(
    items: Sequence[Item], script_of: Callable[[str], Script], frames: int
) -> dict[str, float]:
    """How many intervals between frames an event takes, by question."""
    found = {}
    for item in items:
        answer = item.options[LETTERS.index(item.answer)] if item.options else item.answer
        script = script_of(item.video)
        events = [one for one in script.events if sentence(event_clause(script, one)) == answer]
        if len(events) == 1:
            found[item.id] = (events[0].finish - events[0].begin) * (frames - 1)
    return found


def by_length(lengths: Mapping[str, float]) -> dict[str, Callable[[Item], bool]]:
    """Whether a question is about an event of that length, by heading of `EVENTS`."""

    def within(least: float, most: float) -> Callable[[Item], bool]:
        return lambda item: least <= lengths.get(item.id, -1.0) < most

    return {name: within(*ends) for name, ends in EVENTS.items()}
