"""All that can be asked about a script, and how it is worded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dycoke_cli.models.load_options import UNKNOWN
from dycoke_cli.shapes.script import (
    COLOURS,
    DIGITS,
    DIRECTIONS,
    GLYPHS,
    LETTERS,
    NAMES,
    SHAPES,
    SIDES,
    Event,
    Script,
)

# Questions in words: what one is, how events are told, and how each kind of question is put.
#
# Every word that can occur comes from here.


KINDS = (
    "description", "order", "action", "direction", "position", "colour", "shape", "count",
    "existence", "needle", "letter", "subtitles", "follow-up", "unknown",
)  # fmt: skip


@dataclass(frozen=True)
class Claim:
    """Something that a question says of the video."""

    text: str  # a stretch of the question, word for word
    true: bool  # whether it is so


@dataclass(frozen=True)
class ScriptQuestion:
    """A question and its one right answer."""

    kind: str  # one of KINDS
    text: str  # as a person types it, with the options and subtitles that belong to it
    answer: str  # the right answer, to the letter
    claims: tuple[Claim, ...] = ()  # what the question says of the video, in the order of the text
    # questions and answers about the same video that came before
    earlier: tuple[tuple[str, str], ...] = ()


# {w} is the way (a direction or a side), {c} a colour, {o} another thing.
VERBS = {
    "enter": "enters from the {w}", "leave": "leaves to the {w}", "move": "moves {w}",
    "bounce": "bounces", "spin": "spins", "grow": "grows", "shrink": "shrinks",
    "hit": "hits the {o}", "hide": "hides behind the {o}", "turn": "turns {c}",
}  # fmt: skip
SHOWN = "is shown"
STAYS = "stays still"
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


def event_clause(script: Script, event: Event) -> str:
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


NUMBERS = ("no", "one", "two", "three", "four", "five", "six")
NOUNS = ("object", "shape", "thing")
PLACES = {
    (0, 0): "at the top left", (1, 0): "at the top", (2, 0): "at the top right",
    (0, 1): "at the left", (1, 1): "in the middle", (2, 1): "at the right",
    (0, 2): "at the bottom left", (1, 2): "at the bottom", (2, 2): "at the bottom right",
}  # fmt: skip
# {n} names a thing, {e} tells an event, {a} is a thing with its article, {l} lists subtitles.
WORDINGS = {
    "description": (
        "What happens in the video?", "Describe the video.", "What happens?",
        "Tell me what happens, in order.", "Describe what happens in the video.",
        "What happens, from first to last?",
    ),
    "first": ("What happens first?", "What is the first thing that happens?",
              "How does the video begin?"),
    "last": ("What happens last?", "What is the last thing that happens?",
             "How does the video end?"),
    "after": ("What happens after {e}?", "What happens right after {e}?",
              "After {e}, what happens next?"),
    "before": ("What happens before {e}?", "What happens right before {e}?",
               "Before {e}, what happens?"),
    "action": ("What does the {n} do?", "What happens to the {n}?",
               "What does the {n} do in the video?"),
    "move": ("Which way does the {n} move?", "In which direction does the {n} move?",
             "Where does the {n} move to?"),
    "enter": ("From which side does the {n} enter?", "Where does the {n} enter from?"),
    "leave": ("To which side does the {n} leave?", "Where does the {n} leave to?"),
    "now": ("Where is the {n}?", "Where is the {n} in the picture?"),
    "start": ("Where does the {n} start?", "Where is the {n} when it is first seen?",
              "Where is the {n} at first?"),
    "end": ("Where does the {n} end?", "Where is the {n} when it is last seen?",
            "Where does the {n} end up?"),
    "colour": ("What colour is the {n}?", "What color is the {n}?", "Which colour is the {n}?",
               "What is the colour of the {n}?", "What is the color of the {n}?"),
    "colour then": ("What colour is the {n} at the {t}?", "What color is the {n} at the {t}?"),
    "shape": ("What shape is the {n}?", "Which shape is the {n}?", "What is the {n}?",
              "What is the shape of the {n}?"),
    "things": ("How many objects are there?", "How many shapes are there?",
               "How many objects are in the video?", "How many shapes do you see in the video?"),
    "events": ("How many things happen?", "How many events are there?",
               "How many things happen in the video?"),
    "scenes": ("How many scenes are there?", "How many scenes does the video have?"),
    "existence": ("Is there {a}?", "Is there {a} in the video?", "Do you see {a}?",
                  "Does the video show {a}?"),
    "digit": ("Which digit is shown?", "What digit is shown in the video?",
              "Which digit do you see?"),
    "letter": ("Which letter is shown?", "What letter is shown in the video?",
               "Which letter do you see?"),
    "card": ("What is shown on the card?", "What does the card show?",
             "What is written on the card?"),
    "card place": ("Where is the card?", "Where is the card shown?"),
    "next": ("And then?", "What happens next?", "What happens after that?"),
    "it does": ("What does it do?", "And what does it do?", "What happens to it?"),
    "it starts": ("Where does it start?", "Where is it at first?"),
    "it ends": ("Where does it end up?", "Where does it end?"),
    "subtitles": ("Subtitles: {l}",),
    "which event": ("Which of these happens?", "What happens in the video?"),
    "which first": ("Which of these happens first?", "What happens first?"),
    "which last": ("Which of these happens last?", "What happens last?"),
    "which thing": ("Which of these is in the video?", "Which of these do you see?"),
}  # fmt: skip
INSTRUCTION = "Answer with the option's letter from the given choices directly."
OPTIONS = ("A", "B", "C", "D")
ANSWERS = (
    "It is a circle.", "There are no shapes.", "There is one shape, an object.",
    "Two things happen.",
    "One thing happens.", "Yes, there is no scene.", "No digit, letter is shown.",
    "The card shows nothing.", "Nothing happens after that.", "Nothing happens before that.",
    "First a, then b, finally c.", "starts ends at the in", "There are two scenes.", "leaves to",
)  # fmt: skip
# The words that an answer's sentences begin with: they have a token of their own, with a capital.
OPENERS = ("It", "There", "The", "Yes", "No", "First", "Nothing", "I", "One", "Two", "Three",
           "Four", "Five", "Six", *OPTIONS)  # fmt: skip


def one_of(wording: str, rng: np.random.Generator) -> str:
    """One way to put a question, its gaps still open."""
    return WORDINGS[wording][int(rng.integers(len(WORDINGS[wording])))]


def lines() -> list[str]:
    """Everything that questions and answers are made of, as text to take words from."""
    groups = [*WORDINGS.values(), NAMED, VERBS.values(), PLACES.values(), ANSWERS, NUMBERS, NOUNS]
    names = [SHAPES, COLOURS, DIRECTIONS, SIDES, GLYPHS, NAMES, OPTIONS, ("start", "end", "!")]
    return [line for group in (*groups, *names) for line in group] + [
        SHOWN,
        STAYS,
        UNKNOWN,
        INSTRUCTION,
    ]


def question_to_json(question: ScriptQuestion) -> dict[str, Any]:
    """A question as plain data, without its claims, which only training needs."""
    data = {"kind": question.kind, "text": question.text, "answer": question.answer}
    return data | ({"earlier": question.earlier} if question.earlier else {})


# Questions with four options, answered by a letter.


# What any thing could do by itself.
PREDICATES = (
    *(VERBS[deed].format(w=side) for deed in ("enter", "leave") for side in SIDES),
    *(VERBS["move"].format(w=way) for way in DIRECTIONS),
    *(VERBS["turn"].format(c=colour) for colour in COLOURS),
    *(VERBS[deed] for deed in ("bounce", "spin", "grow", "shrink")),
)


def letter_questions(script: Script, rng: np.random.Generator) -> list[ScriptQuestion]:
    """Questions with options about the events, the things, their colours and places, the card."""
    clauses = [event_clause(script, e) for e in script.events]
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
) -> ScriptQuestion:
    text = one_of(wording, rng).format(**words)
    place = int(rng.integers(len(OPTIONS)))
    options = [*wrong[:place], right, *wrong[place:]]
    listed = [f"{letter}. {sentence(o)}" for letter, o in zip(OPTIONS, options, strict=True)]
    text = "\n".join([capital(text), *listed, INSTRUCTION])
    claims = tuple(
        Claim(line.partition(" ")[2].removesuffix("."), i == place) for i, line in enumerate(listed)
    )
    return ScriptQuestion("letter", text, OPTIONS[place], claims)


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


NOTHING_AFTER, NOTHING_BEFORE = "Nothing happens after that.", "Nothing happens before that."


def ask(script: Script, rng: np.random.Generator) -> list[ScriptQuestion]:
    """All that can be asked about a script, each in a wording drawn at random, in random order."""
    asker = QuestionMaker(script, rng)
    found = [
        *asker.counts(),
        *asker.existence(),
        *asker.needle(),
        *(q for i in range(len(script.things)) for q in asker.about(i)),
    ]
    if script.events:
        found += [*asker.order(), *asker.follow_ups()]
    found += letter_questions(script, rng)
    if script.events:
        found.append(asker.description())
    return [found[int(i)] for i in rng.permutation(len(found))]


def ask_the_unknown(script: Script, rng: np.random.Generator) -> list[ScriptQuestion]:
    """The same questions where the video shows something else: all have one answer."""
    return [ScriptQuestion("unknown", q.text, UNKNOWN, (), q.earlier) for q in ask(script, rng)]


class QuestionMaker:
    """Makes the questions about one script."""

    def __init__(self, script: Script, rng: np.random.Generator) -> None:
        self.script, self.rng = script, rng
        self.clauses = [event_clause(script, e) for e in script.events]
        turned = {e.thing: e.colour for e in script.events if e.deed == "turn"}
        # Every colour that a thing has or had: what names it must fit no other.
        self.colours = [{t.colour, turned.get(i, t.colour)} for i, t in enumerate(script.things)]

    def description(self) -> ScriptQuestion:
        """All events in order."""
        return self._made("description", "description", in_order(self.clauses))

    def order(self) -> list[ScriptQuestion]:
        """First, last, and what comes right after and before an event that is told once."""
        events, found = self.clauses, []
        found.append(self._made("order", "first", sentence(events[0])))
        found.append(self._made("order", "last", sentence(events[-1])))
        for i in [i for i, c in enumerate(events) if events.count(c) == 1]:
            after = sentence(events[i + 1]) if i + 1 < len(events) else NOTHING_AFTER
            before = sentence(events[i - 1]) if i else NOTHING_BEFORE
            claim = (Claim(events[i], True),)
            # At the ends there is less to know: they are asked about less often.
            if i + 1 < len(events) or self.rng.random() < 0.3:
                found.append(self._made("order", "after", after, claim, e=events[i]))
            if i or self.rng.random() < 0.3:
                found.append(self._made("order", "before", before, claim, e=events[i]))
        return found

    def follow_ups(self) -> list[ScriptQuestion]:
        """What comes next, and what "it" does."""
        events, found = self.clauses, []
        i = int(self.rng.integers(len(events)))
        first = self._made("order", "first", sentence(events[0]))
        if i and events.count(events[i - 1]) == 1:
            earlier = self._made("order", "after", sentence(events[i]), (), e=events[i - 1])
        else:
            i, earlier = 0, first
        answer = sentence(events[i + 1]) if i + 1 < len(events) else NOTHING_AFTER
        if events.count(events[i]) == 1:
            found.append(self._follow(earlier, "next", answer))
        things = [k for k in range(len(self.script.things)) if alone_in_shape(self.script, k)]
        if things:
            k = int(self.rng.choice(things))
            thing = self.script.things[k]
            full = named(self.script, k)
            if len(self.colours[k]) == 1:
                asked = self._made("colour", "colour", f"It is {article(full)}.", n=thing.shape)
            else:
                answer = f"Yes, there is {article(full)}."
                asked = self._made("existence", "existence", answer, a=article(full))
            found.append(self._follow(asked, "it does", sentence(self._deeds(k))))
            for wording, answer in self.places(k):
                if wording != "now":
                    found.append(self._follow(asked, f"it {wording}s", answer))
        return found

    def counts(self) -> list[ScriptQuestion]:
        """How many things, events and scenes there are."""
        things, events = len(self.script.things), len(self.script.events)
        scenes = len(self.script.scenes)
        number = NUMBERS[events].capitalize()
        happen = f"{number} thing happens." if events == 1 else f"{number} things happen."
        found = [self._made("count", "things", there_are(things, "shape"))]
        if events:
            found.append(self._made("count", "events", happen))
            found.append(self._made("count", "scenes", there_are(scenes, "scene")))
        return found

    def existence(self) -> list[ScriptQuestion]:
        """Whether there is a thing: one that is, one that isn't, and one asked about in vain."""
        k = int(self.rng.integers(len(self.script.things)))
        there = self._noun(k)
        absent = self._absent()
        full = self._absent(full=True)
        no = f"There is no {full}."
        claim = (Claim(f"the {full}", False),)
        wording = str(self.rng.choice(["action", "start", "end", "action"]))
        return [
            self._made("existence", "existence", f"Yes, there is {article(there)}.",
                       (Claim(article(there), True),), a=article(there)),
            self._made("existence", "existence", f"No, there is no {absent}.",
                       (Claim(article(absent), False),), a=article(absent)),
            self._made("existence", wording, no, claim, n=full),
        ]  # fmt: skip

    def needle(self) -> list[ScriptQuestion]:
        """What the card shows, and where it is; also where there is none."""
        shown = next((e for e in self.script.events if e.deed == "show"), None)
        if shown is None:
            kind = "digit" if self.rng.random() < 0.5 else "letter"
            return [self._made("needle", kind, f"No {kind} is shown.")]
        kind, other = "digit", "letter"
        if shown.glyph not in DIGITS:
            kind, other = other, kind
        answer = sentence(event_clause(self.script, shown))
        assert shown.cell is not None
        place = f"The {kind} {shown.glyph} is shown {PLACES[shown.cell]}."
        found = [
            self._made("needle", kind, answer),
            self._made("needle", "card", answer),
            self._made("position", "card place", place),
        ]
        if self.rng.random() < 0.3:
            found.append(self._made("needle", other, f"No {other} is shown."))
        return found

    def about(self, k: int) -> list[ScriptQuestion]:
        """Colour, shape, places, directions and deeds of one thing."""
        thing, full = self.script.things[k], named(self.script, k)
        found = []
        first = f"It is {article(full)}."
        if alone_in_shape(self.script, k):
            if len(self.colours[k]) == 1:
                found.append(self._made("colour", "colour", first, n=thing.shape))
            else:
                after = f"It is {article(named(self.script, k, 1.0))}."
                for when, answer in (("start", first), ("end", after)):
                    asked = self._made("colour", "colour then", answer, n=thing.shape, t=when)
                    found.append(asked)
        if self._alone_in_colour(k) and len(self.colours[k]) == 1:
            noun = f"{thing.colour} {self.rng.choice(NOUNS)}"
            found.append(self._made("shape", "shape", first, n=noun))
        for wording, answer in self.places(k):
            name = self._name(k)
            found.append(
                self._made("position", wording, answer, (Claim(f"the {name}", True),), n=name)
            )
        for wording, answer in self._ways(k):
            name = self._name(k)
            found.append(
                self._made("direction", wording, answer, (Claim(f"the {name}", True),), n=name)
            )
        name = self._name(k)
        deeds = sentence(self._deeds(k))
        found.append(self._made("action", "action", deeds, (Claim(f"the {name}", True),), n=name))
        nicknames = [name for name, index in self.script.names if index == k]
        if nicknames:
            told = [*self.places(k), *self._ways(k), ("action", deeds), ("action", deeds)]
            for wording, answer in told:
                if self.rng.random() < 0.5:
                    found.append(self._by_subtitles(nicknames[0], wording, answer))
        return found

    def _by_subtitles(self, nickname: str, wording: str, answer: str) -> ScriptQuestion:
        """A question that names a thing as the subtitles do."""
        asked = one_of(wording, self.rng).replace("the {n}", nickname)
        said = WORDINGS["subtitles"][0].format(l=" ".join(subtitles(self.script)))
        return ScriptQuestion("subtitles", f"{said}\n{asked}", answer)

    def _deeds(self, k: int) -> str:
        return f"the {named(self.script, k)} {deeds_of(self.script, k)}"

    def places(self, k: int) -> list[tuple[str, str]]:
        """(wording, answer) of where a thing is, or where it starts and ends."""
        thing, full = self.script.things[k], named(self.script, k)
        mine = [e for e in self.script.events if e.thing == k]
        went = [e for e in mine if e.deed in ("enter", "move", "leave", "hide")]
        if thing.cell is not None and not went:
            return [("now", f"The {full} is {PLACES[thing.cell]}.")]
        found = []
        if thing.cell is not None:
            found.append(("start", f"The {full} starts {PLACES[thing.cell]}."))
        if went and went[-1].deed in ("enter", "move"):
            assert went[-1].cell is not None
            found.append(("end", f"The {full} ends {PLACES[went[-1].cell]}."))
        return found

    def _ways(self, k: int) -> list[tuple[str, str]]:
        """(wording, answer) of each kind of way that a thing goes just once."""
        mine = [e for e in self.script.events if e.thing == k]
        found = []
        for deed in ("move", "enter", "leave"):
            went: list[Event] = [e for e in mine if e.deed == deed]
            if len(went) == 1:
                who = f"the {named(self.script, k)}"
                found.append((deed, sentence(f"{who} {predicate(self.script, went[0])}")))
        return found

    def _name(self, k: int) -> str:
        """What names a thing: mostly colour and shape, at times one of them where it suffices."""
        thing = self.script.things[k]
        draw = self.rng.random()
        if draw < 0.15 and alone_in_shape(self.script, k):
            return thing.shape
        if draw > 0.85 and self._alone_in_colour(k):
            return f"{thing.colour} {self.rng.choice(NOUNS)}"
        return named(self.script, k)

    def _noun(self, k: int) -> str:
        """What may be asked for: a thing as it is at first, or its shape or colour alone."""
        thing, draw = self.script.things[k], self.rng.random()
        if draw < 0.15:
            return thing.shape
        if draw > 0.85:
            return f"{thing.colour} {self.rng.choice(NOUNS)}"
        return named(self.script, k)

    def _absent(self, *, full: bool = False) -> str:
        """A thing, a shape or a colour that is never there; mostly off by one word."""
        shapes = [t.shape for t in self.script.things]
        colours = set().union(*self.colours)
        draw = self.rng.random()
        missing = [s for s in SHAPES if s not in shapes]
        if draw < 0.15 and missing and not full:
            return str(self.rng.choice(missing))
        free = [c for c in COLOURS if c not in colours]
        if draw > 0.85 and free and not full:
            return f"{self.rng.choice(free)} {self.rng.choice(NOUNS)}"
        pairs = {(c, t.shape) for c in COLOURS for t in self.script.things}
        pairs |= {(c, s) for s in SHAPES for c in colours}
        here = {(c, t.shape) for i, t in enumerate(self.script.things) for c in self.colours[i]}
        near = sorted(pairs - here)
        return " ".join(near[int(self.rng.integers(len(near)))])

    def _alone_in_colour(self, k: int) -> bool:
        return not any(self.colours[k] & c for i, c in enumerate(self.colours) if i != k)

    def _follow(self, earlier: ScriptQuestion, wording: str, answer: str) -> ScriptQuestion:
        turn = (earlier.text, earlier.answer)
        return ScriptQuestion("follow-up", one_of(wording, self.rng), answer, (), (turn,))

    def _made(
        self, kind: str, wording: str, answer: str, claims: tuple[Claim, ...] = (), **words: str
    ) -> ScriptQuestion:
        text = one_of(wording, self.rng).format(**words)
        return ScriptQuestion(kind, capital(text), answer, claims)


def there_are(number: int, noun: str) -> str:
    """How many of something there are, as a sentence."""
    return f"There is one {noun}." if number == 1 else f"There are {NUMBERS[number]} {noun}s."
