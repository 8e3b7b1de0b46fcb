"""Events and things in words."""

from __future__ import annotations

from dycoke_cli.shapes.world.script import Event, Script
from dycoke_cli.shapes.world.vocabulary import DIGITS

# {w} is the way (a direction or a side), {c} a colour, {o} another thing.
VERBS = {
    "enter": "enters from the {w}", "leave": "leaves to the {w}", "move": "moves {w}",
    "bounce": "bounces", "spin": "spins", "grow": "grows", "shrink": "shrinks",
    "hit": "hits the {o}", "hide": "hides behind the {o}", "turn": "turns {c}",
}  # fmt: skip
SHOWN = "is shown"
STAYS = "stays still"
UNKNOWN = "I only know moving shapes."
# {m} is what the subtitles call a thing.
NAMED = ("{m} is the {n}.", "Look, {m} is the {n}.", "I call the {n} {m}.")


def named(script: Script, index: int, time: float = 0.0) -> str:
    """A thing by the colour it has at that time and its shape: "red circle"."""
    thing = script.things[index]
    turned = [e for e in script.events if e.thing == index and e.deed == "turn"]
    colour = turned[0].colour if turned and turned[0].finish <= time else thing.colour
    return f"{colour} {thing.shape}"


def subject(script: Script, event: Event) -> str:
    """Who does it: "the red circle", or what is shown: "the digit 7"."""
    if event.deed == "show":
        return f"the {'digit' if event.glyph in DIGITS else 'letter'} {event.glyph}"
    return f"the {named(script, event.thing, event.begin)}"


def predicate(script: Script, event: Event) -> str:
    """What it does: "moves up"."""
    if event.deed == "show":
        return SHOWN
    other = named(script, event.other, event.begin) if event.other >= 0 else ""
    return VERBS[event.deed].format(w=event.way, c=event.colour, o=other)


def told(script: Script, event: Event) -> str:
    """An event as a clause: "the red circle moves up"."""
    return f"{subject(script, event)} {predicate(script, event)}"


def deeds_of(script: Script, index: int) -> str:
    """All that a thing does, in order: "moves up, then turns green"; or that it stays still."""
    mine = [predicate(script, e) for e in script.events if e.thing == index]
    return ", then ".join(mine) if mine else STAYS


def in_order(clauses: list[str]) -> str:
    """Clauses as one sentence: "First …, then …, finally …."."""
    if len(clauses) == 1:
        return sentence(clauses[0])
    middle = [f"then {clause}" for clause in clauses[1:-1]]
    return sentence(", ".join([f"first {clauses[0]}", *middle, f"finally {clauses[-1]}"]))


def sentence(clause: str) -> str:
    """A clause with a capital and a full stop."""
    return f"{capital(clause)}."


def capital(text: str) -> str:
    """A text with a capital, its other letters as they are."""
    return text[0].upper() + text[1:]


def alone_in_shape(script: Script, index: int) -> bool:
    """Whether its shape alone names a thing."""
    shapes = [thing.shape for thing in script.things]
    return shapes.count(shapes[index]) == 1


def article(name: str) -> str:
    """A thing's name with its article: "a red circle", "an orange star"."""
    return f"{'an' if name.startswith('orange') else 'a'} {name}"


def subtitles(script: Script) -> list[str]:
    """The lines of a clip's subtitles: what they call its things."""
    return [
        NAMED[(script.seed + i) % len(NAMED)].format(m=name, n=named(script, index))
        for i, (name, index) in enumerate(script.names)
    ]
