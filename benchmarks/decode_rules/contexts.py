"""Facts to look up in a text, and the prompts that ask for one: what stands for a video here."""

from __future__ import annotations

import random
from dataclasses import dataclass

_ADJECTIVES = (
    "green", "broken", "wooden", "silver", "tiny", "heavy", "striped", "old", "round", "painted",
    "paper", "golden", "dusty", "plastic", "folded", "glass",
)  # fmt: skip
_NOUNS = (
    "lamp", "spoon", "violin", "map", "candle", "helmet", "basket", "ladder", "mirror", "kettle",
    "pillow", "hammer", "bottle", "ticket", "wheel", "statue", "camera", "blanket", "compass",
    "drum", "key", "scarf", "bucket", "clock",
)  # fmt: skip
_PLACES = (
    "attic", "kitchen", "garage", "garden", "cellar", "library", "office", "hallway", "bathroom",
    "workshop", "bedroom", "stable", "tower", "pantry", "studio", "chapel", "barn", "museum",
    "school", "station", "harbour", "bakery", "theatre", "hospital", "market", "castle", "prison",
    "hotel", "bank", "farm",
)  # fmt: skip


@dataclass(frozen=True)
class Context:
    """A text and a question about it.

    Args:
        facts: the part that may be pruned.
        question: which asks for one of them.
        begun: how its answer begins, before the thing.
        answer: the thing.
    """

    facts: str
    question: str
    begun: str
    answer: str


def context(number: int, facts: int) -> Context:
    """One of the contexts, the same whenever it is made.

    Args:
        number: which.
        facts: how many it has.
    """
    drawn = random.Random(number)
    places = [f"{place} {n}" if n > 1 else place for n in range(1, 10) for place in _PLACES][:facts]
    drawn.shuffle(places)
    things = [f"{a} {n}" for a in _ADJECTIVES for n in _NOUNS]
    drawn.shuffle(things)
    lines = [
        f"In the {place} there is a {thing}." for place, thing in zip(places, things, strict=False)
    ]
    asked = drawn.randrange(len(places))
    place = places[asked]
    return Context(
        " ".join(lines), f"What is in the {place}?", f"In the {place} there is a", things[asked]
    )
