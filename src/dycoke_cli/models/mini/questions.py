"""Questions about a script and their answers, in several wordings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dycoke_cli.models.mini.world import BACKGROUNDS, COLOURS, SHAPES, Script, Thing

KINDS = (
    "colour", "shape", "count", "existence", "place", "action", "background", "description",
)  # fmt: skip
NUMBERS = ("no", "one", "two", "three")
# One preposition as far as can be: the model needs to know the place before it can choose another.
PLACES = {
    (0, 0): "at the top left", (1, 0): "at the top", (2, 0): "at the top right",
    (0, 1): "at the left", (1, 1): "in the middle", (2, 1): "at the right",
    (0, 2): "at the bottom left", (1, 2): "at the bottom", (2, 2): "at the bottom right",
}  # fmt: skip
DEEDS = {
    "stay": "stays still", "right": "moves to the right", "left": "moves to the left",
    "up": "moves up", "down": "moves down", "appear": "appears", "vanish": "disappears",
    "turn": "turns {colour}",
}  # fmt: skip

# {n} names the thing, {w} is the word asked about.
COLOUR_NOW = ("what colour is the {n} ?", "what color is the {n} ?", "which colour is the {n} ?",
              "what is the colour of the {n} ?", "what is the color of the {n} ?")  # fmt: skip
COLOUR_WHEN = ("what colour is the {n} at the {when} ?", "what color is the {n} at the {when} ?")
SHAPE = ("what shape is the {n} ?", "which shape is the {n} ?", "what is the {n} ?",
         "what is the shape of the {n} ?")  # fmt: skip
COUNT = ("how many objects are there ?", "how many shapes are there ?",
         "how many objects are in the video ?", "how many things do you see ?",
         "how many objects does the video show ?")  # fmt: skip
EXISTENCE = ("is there a {n} ?", "is there a {n} in the video ?", "do you see a {n} ?",
             "does the video show a {n} ?")  # fmt: skip
PLACE_NOW = ("where is the {n} ?",)
PLACE_WHEN = ("where is the {n} at the {when} ?", "at the {when} , where is the {n} ?")
PLACE_START = ("where does the {n} start ?", "where is the {n} at first ?")
PLACE_END = (
    "where does the {n} end ?",
    "where is the {n} at last ?",
    "where does the {n} end up ?",
)
ACTION = ("what does the {n} do ?", "what happens to the {n} ?", "what is the {n} doing ?",
          "how does the {n} move ?", "what does the {n} do in the video ?")  # fmt: skip
BACKGROUND = ("what colour is the background ?", "what color is the background ?",
              "which colour is the background ?", "what is the background ?")  # fmt: skip
DESCRIPTION = ("what happens in the video ?", "describe the video .", "what happens ?",
               "what is happening ?", "describe what happens .", "what do you see ?",
               "what is in the video ?", "what is happening in the video ?",
               "what does the video show ?", "tell me what happens .")  # fmt: skip
START, END = "start", "end"
NOUNS = ("object", "shape", "thing")


@dataclass(frozen=True)
class Question:
    """A question, its one right answer, and which of KINDS it is."""

    kind: str
    text: str
    answer: str


def ask(script: Script, rng: np.random.Generator, *, still: bool = False) -> list[Question]:
    """All that can be asked about a script, each in a wording drawn at random, in random order.

    Args:
        script: the script asked about.
        rng: draws wordings, names and the things that aren't there.
        still: only what a single frame answers. The script must then have things that stay.
    """
    found = [
        _made("count", COUNT, rng, _count(script)),
        _made("background", BACKGROUND, rng, f"It is {script.background}."),
        _existence(script, rng, true=True),
        _existence(script, rng, true=False),
    ]
    for thing in script.things:
        found += _about(thing, rng, still)
    if not still:
        found.append(_made("description", DESCRIPTION, rng, describe(script)))
    return [found[i] for i in rng.permutation(len(found))]


def describe(script: Script) -> str:
    """How many things there are, on what background, and what each does, in order of colour."""
    things = sorted(script.things, key=lambda t: COLOURS.index(t.colour))
    deeds = [f"The {t.colour} {t.shape} {deed(t)}." for t in things]
    number = _count(script).removesuffix(".")
    return " ".join([f"{number} on a {script.background} background.", *deeds])


def deed(thing: Thing) -> str:
    """What a thing does, as a verb: "moves to the right"."""
    return DEEDS[thing.action].format(colour=thing.new_colour)


def _count(script: Script) -> str:
    number = len(script.things)
    return "There is one object." if number == 1 else f"There are {NUMBERS[number]} objects."


def _about(thing: Thing, rng: np.random.Generator, still: bool) -> list[Question]:
    full, by_shape = f"{thing.colour} {thing.shape}", thing.shape
    by_colour = f"{thing.colour} {rng.choice(NOUNS)}"

    def name() -> str:
        return str(rng.choice([full, by_shape, by_colour], p=[0.6, 0.2, 0.2]))

    found = [_made("shape", SHAPE, rng, f"It is {with_article(thing)}.", n=by_colour)]
    if thing.action == "turn":
        for when, colour in ((START, thing.colour), (END, thing.new_colour)):
            answer = f"It is {colour}."
            found.append(_made("colour", COLOUR_WHEN, rng, answer, n=by_shape, when=when))
    else:
        found.append(_made("colour", COLOUR_NOW, rng, f"It is {thing.colour}.", n=by_shape))
    if still or (thing.start == thing.end and rng.random() < 0.3):
        found.append(
            _made("place", PLACE_NOW, rng, f"The {full} is {PLACES[thing.start]}.", n=name())
        )
    if still:
        return found
    for when, cell, more, hidden in (
        (START, thing.start, PLACE_START, "appear"),
        (END, thing.end, PLACE_END, "vanish"),
    ):
        if thing.action != hidden:
            wordings = PLACE_WHEN * 2 + more
            answer = f"The {full} is {PLACES[cell]}."
            found.append(_made("place", wordings, rng, answer, n=name(), when=when))
    found.append(_made("action", ACTION, rng, f"The {full} {deed(thing)}.", n=name()))
    return found


def _existence(script: Script, rng: np.random.Generator, *, true: bool) -> Question:
    """Asks for a colour and a shape, a shape, or a colour.

    The answer tells what there is of that colour (or shape), and so whether it is what was asked
    for: a bare yes or no is much harder to learn than to look at the thing and name it.
    """
    there = script.things[int(rng.integers(len(script.things)))]
    asked = str(rng.choice(["both", "shape", "colour"], p=[0.6, 0.2, 0.2]))
    # What a thing turns into is never asked about: was it there or not?
    colours = [c for c in COLOURS if c not in {t.new_colour for t in script.things}]
    if not true and asked == "colour" and {t.colour for t in script.things} >= set(colours):
        asked = "both"  # every colour that may be asked about is there
    if asked == "colour" and not true and set(colours) <= {t.colour for t in script.things}:
        asked = "both"
    colour, shape = there.colour, there.shape
    while not true and any(
        (t.colour == colour or asked == "shape") and (t.shape == shape or asked == "colour")
        for t in script.things
    ):
        # Where both are asked for, many are off by one word only.
        change = rng.integers(3)
        colour = there.colour if change == 0 and asked == "both" else str(rng.choice(colours))
        shape = there.shape if change == 1 and asked == "both" else str(rng.choice(SHAPES))
    noun = str(rng.choice(NOUNS))
    name = {"both": f"{colour} {shape}", "shape": shape, "colour": f"{colour} {noun}"}[asked]
    found = [
        t for t in script.things if (t.shape if asked == "shape" else t.colour) in name.split()
    ]
    if found:
        answer = f"There is {with_article(found[0])}."
    else:
        answer = f"There is no {shape if asked == 'shape' else f'{colour} object'}."
    return _made("existence", EXISTENCE, rng, answer, n=name)


def with_article(thing: Thing) -> str:
    """A thing's name: "a red circle", "an orange star"."""
    return f"{'an' if thing.colour == 'orange' else 'a'} {thing.colour} {thing.shape}"


def _made(
    kind: str, wordings: tuple[str, ...], rng: np.random.Generator, answer: str, **words: str
) -> Question:
    text = wordings[int(rng.integers(len(wordings)))].format(**words)
    return Question(kind, _written(text), answer)


def _written(text: str) -> str:
    """A wording as a person would type it: capital first, no blank before the mark."""
    text = text.replace(" a orange", " an orange")
    for mark in "?.,":
        text = text.replace(f" {mark}", mark)
    return text[0].upper() + text[1:]


def words() -> list[str]:
    """Every word that a question or an answer can hold, marks included, lower case, sorted."""
    groups: list[tuple[str, ...]] = [
        COLOUR_NOW, COLOUR_WHEN, SHAPE, COUNT, EXISTENCE, PLACE_NOW, PLACE_WHEN, PLACE_START,
        PLACE_END, ACTION, BACKGROUND, DESCRIPTION, tuple(PLACES.values()), tuple(DEEDS.values()),
    ]  # fmt: skip
    lines = [line for group in groups for line in group]
    plain = " ".join(lines).replace("{n}", "").replace("{when}", "").replace("{colour}", "")
    more = [*SHAPES, *COLOURS, *BACKGROUNDS, *NUMBERS, START, END, *NOUNS]
    said = [
        "there",
        "are",
        "is",
        "it",
        "on",
        "a",
        "an",
        "the",
        "yes",
        "no",
        "objects",
        "background",
    ]
    return sorted({*plain.split(), *more, *said, ".", ",", "?", "!"})


# The words that an answer's sentences begin with.
OPENERS = ("It", "There", "The", "Yes", "No")
