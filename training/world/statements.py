"""Sentences about a clip, true and false, as a caption might have them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dycoke_cli.shapes.script import COLOURS, SHAPES, Script
from training.world.script_questions import (
    PLACES,
    PREDICATES,
    QuestionMaker,
    article,
    capital,
    event_clause,
    named,
    predicate,
    sentence,
    there_are,
)

KINDS = ("event", "thing", "place", "order", "count")


@dataclass(frozen=True)
class Statement:
    """A sentence about a clip."""

    kind: str  # one of KINDS: what it tells
    text: str
    true: bool


def statements(script: Script, rng: np.random.Generator) -> list[Statement]:
    """True sentences about a clip, and as many false ones of the same kinds, in random order.

    A false one differs from what is so by one thing: what happens, who does it, where, the order,
    or a number. All that it names is in the clip, unless it is about a thing that isn't.
    """
    found: list[Statement] = []
    for kind, true, false in _pairs(script, rng):
        found += [Statement(kind, true, True), Statement(kind, false, False)]
    return [found[int(i)] for i in rng.permutation(len(found))]


def _pairs(script: Script, rng: np.random.Generator) -> list[tuple[str, str, str]]:
    """Kind, a true sentence and a false one."""
    happens = {event_clause(script, event) for event in script.events}
    pairs = []
    for event in script.events:
        if event.deed != "show":
            false = _other_event(script, event.thing, happens, rng)
            pairs.append(("event", sentence(event_clause(script, event)), sentence(false)))
    turned = {e.thing: e.colour for e in script.events if e.deed == "turn"}
    here = {(thing.colour, thing.shape) for thing in script.things}
    here |= {(colour, script.things[index].shape) for index, colour in turned.items()}
    absent = [(c, s) for c in COLOURS for s in SHAPES if (c, s) not in here]
    # Off by one word: what is easily taken for it.
    near = [one for one in absent if any((one[0] == c) != (one[1] == s) for c, s in here)]
    for index in range(len(script.things)):
        other = " ".join(near[int(rng.integers(len(near)))])
        true = f"There is {article(named(script, index))}."
        pairs.append(("thing", true, f"There is {article(other)}."))
    asker = QuestionMaker(script, rng)
    for index in range(len(script.things)):
        for _, true in asker.places(index):
            place = next(one for one in PLACES.values() if true.endswith(f" {one}."))
            others = [one for one in PLACES.values() if one != place]
            false = true.removesuffix(f"{place}.") + f"{others[int(rng.integers(len(others)))]}."
            pairs.append(("place", true, false))
    clauses = [event_clause(script, event) for event in script.events]
    if len(set(clauses)) == len(clauses) > 1:
        first, second = sorted(rng.choice(len(clauses), 2, replace=False).tolist())
        pairs.append(("order", _first(clauses, first, second), _first(clauses, second, first)))
    number = len(script.things)
    wrong = number + (1 if number == 1 or rng.random() < 0.5 else -1)
    pairs.append(("count", there_are(number, "shape"), there_are(wrong, "shape")))
    return pairs


def _other_event(script: Script, index: int, happens: set[str], rng: np.random.Generator) -> str:
    """What a thing doesn't do: often what another thing does."""
    others = [
        predicate(script, event)
        for event in script.events
        if event.thing != index and event.deed not in ("show", "hit", "hide")
    ]
    made_up = [PREDICATES[int(i)] for i in rng.permutation(len(PREDICATES))]
    candidates = others + made_up if rng.random() < 0.5 else made_up
    subject = f"the {named(script, index)}"
    did = {predicate(script, event) for event in script.events if event.thing == index}
    return next(
        f"{subject} {deed}"
        for deed in candidates
        if deed not in did and f"{subject} {deed}" not in happens
    )


def _first(clauses: Sequence[str], first: int, second: int) -> str:
    return capital(f"first {clauses[first]}, then {clauses[second]}.")
