"""Questions with four options, answered by a letter."""

from __future__ import annotations

import numpy as np

from dycoke_cli.shapes.script import (
    COLOURS,
    DIGITS,
    DIRECTIONS,
    GLYPHS,
    LETTERS,
    SHAPES,
    SIDES,
    Script,
)
from dycoke_cli.shapes.wording import (
    INSTRUCTION,
    OPTIONS,
    PLACES,
    VERBS,
    Claim,
    Question,
    alone_in_shape,
    article,
    capital,
    named,
    one_of,
    predicate,
    sentence,
    told,
)

# What any thing could do by itself.
PREDICATES = (
    *(VERBS[deed].format(w=side) for deed in ("enter", "leave") for side in SIDES),
    *(VERBS["move"].format(w=way) for way in DIRECTIONS),
    *(VERBS["turn"].format(c=colour) for colour in COLOURS),
    *(VERBS[deed] for deed in ("bounce", "spin", "grow", "shrink")),
)


def letter_questions(script: Script, rng: np.random.Generator) -> list[Question]:
    """Questions with options about the events, the things, their colours and places, the card."""
    clauses = [told(script, e) for e in script.events]
    made_up = _made_up(script, rng)
    once = [i for i, c in enumerate(clauses) if clauses.count(c) == 1]
    found = []

    def add(wording: str, right: str, wrong: list[str], **words: str) -> None:
        options = list(dict.fromkeys(w for w in wrong if w != right))[: len(OPTIONS) - 1]
        if len(options) == len(OPTIONS) - 1:
            found.append(_lettered(wording, right, options, rng, **words))

    def others(right: int) -> list[str]:
        """The clip's other events first: only their order tells them from the right one."""
        rest = [c for i, c in enumerate(clauses) if i != right]
        return [rest[int(i)] for i in rng.permutation(len(rest))] + made_up

    if clauses:
        add("which event", clauses[int(rng.integers(len(clauses)))], made_up)
    if 0 in once:
        add("which first", clauses[0], others(0))
    if len(clauses) - 1 in once:
        add("which last", clauses[-1], others(len(clauses) - 1))
    for i in once[:-1] if len(clauses) > 1 else []:
        if i + 1 < len(clauses) and clauses[i + 1] != clauses[i] and rng.random() < 0.5:
            add("after", clauses[i + 1], others(i + 1), e=clauses[i])
    add("which thing", *_things(script, rng))
    for k, thing in enumerate(script.things):
        turns = any(e.thing == k and e.deed == "turn" for e in script.events)
        if alone_in_shape(script, k) and not turns and rng.random() < 0.3:
            wrong = [c for c in rng.permutation(COLOURS) if c != thing.colour]
            add("colour", thing.colour, wrong, n=thing.shape)
        if thing.cell is not None and rng.random() < 0.3:
            places = list(rng.permutation(list(PLACES.values())))
            wrong = [str(p) for p in places if p != PLACES[thing.cell]]
            add("start", PLACES[thing.cell], wrong, n=named(script, k))
    for shown in (e for e in script.events if e.deed == "show"):
        same = DIGITS if shown.glyph in DIGITS else LETTERS
        add("card", shown.glyph, [str(g) for g in rng.permutation(same)] + list(GLYPHS))
    return found


def _lettered(
    wording: str, right: str, wrong: list[str], rng: np.random.Generator, **words: str
) -> Question:
    text = one_of(wording, rng).format(**words)
    place = int(rng.integers(len(OPTIONS)))
    options = [*wrong[:place], right, *wrong[place:]]
    listed = [f"{letter}. {sentence(o)}" for letter, o in zip(OPTIONS, options, strict=True)]
    text = "\n".join([capital(text), *listed, INSTRUCTION])
    claims = tuple(
        Claim(line.partition(" ")[2].removesuffix("."), i == place) for i, line in enumerate(listed)
    )
    return Question("letter", text, OPTIONS[place], claims)


def _things(script: Script, rng: np.random.Generator) -> tuple[str, list[str]]:
    """A thing that is there, and others that never are."""
    turned = {(e.colour, script.things[e.thing].shape) for e in script.events if e.deed == "turn"}
    here = {(t.colour, t.shape) for t in script.things} | turned
    pairs = [(c, s) for c in COLOURS for s in SHAPES if (c, s) not in here]
    wrong = [pairs[int(i)] for i in rng.permutation(len(pairs))[:3]]
    right = named(script, int(rng.integers(len(script.things))))
    return article(right), [article(f"{c} {s}") for c, s in wrong]


def _made_up(script: Script, rng: np.random.Generator) -> list[str]:
    """Clauses of what doesn't happen, about things that are there, in random order."""
    found = []
    for k in range(len(script.things)):
        # Under whatever name: a thing that turned green may have moved as the green one.
        did = {predicate(script, e) for e in script.events if e.thing == k}
        who = f"the {named(script, k)}"
        found += [f"{who} {deed}" for deed in PREDICATES if deed not in did]
    return [found[int(i)] for i in rng.permutation(len(found))]
