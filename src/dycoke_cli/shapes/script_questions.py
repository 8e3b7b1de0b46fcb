"""All that can be asked about a script."""

from __future__ import annotations

import numpy as np

from dycoke_cli.shapes.multiple_choice import letter_questions
from dycoke_cli.shapes.script import COLOURS, DIGITS, SHAPES, Event, Script
from dycoke_cli.shapes.wording import (
    NOUNS,
    NUMBERS,
    PLACES,
    UNKNOWN,
    WORDINGS,
    Claim,
    Question,
    alone_in_shape,
    article,
    capital,
    deeds_of,
    in_order,
    named,
    one_of,
    predicate,
    sentence,
    subtitles,
    told,
)

NOTHING_AFTER, NOTHING_BEFORE = "Nothing happens after that.", "Nothing happens before that."


def ask(script: Script, rng: np.random.Generator) -> list[Question]:
    """All that can be asked about a script, each in a wording drawn at random, in random order."""
    asker = Asker(script, rng)
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


def ask_the_unknown(script: Script, rng: np.random.Generator) -> list[Question]:
    """The same questions where the video shows something else: all have one answer."""
    return [Question("unknown", q.text, UNKNOWN, (), q.earlier) for q in ask(script, rng)]


class Asker:
    """Makes the questions about one script."""

    def __init__(self, script: Script, rng: np.random.Generator) -> None:
        self.script, self.rng = script, rng
        self.clauses = [told(script, e) for e in script.events]
        turned = {e.thing: e.colour for e in script.events if e.deed == "turn"}
        # Every colour that a thing has or had: what names it must fit no other.
        self.colours = [{t.colour, turned.get(i, t.colour)} for i, t in enumerate(script.things)]

    def description(self) -> Question:
        """All events in order."""
        return self._made("description", "description", in_order(self.clauses))

    def order(self) -> list[Question]:
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

    def follow_ups(self) -> list[Question]:
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
            for wording, answer in self._places(k):
                if wording != "now":
                    found.append(self._follow(asked, f"it {wording}s", answer))
        return found

    def counts(self) -> list[Question]:
        """How many things, events and scenes there are."""
        things, events = len(self.script.things), len(self.script.events)
        scenes = len(self.script.scenes)
        number = NUMBERS[events].capitalize()
        happen = f"{number} thing happens." if events == 1 else f"{number} things happen."
        found = [self._made("count", "things", _there_are(things, "shape"))]
        if events:
            found.append(self._made("count", "events", happen))
            found.append(self._made("count", "scenes", _there_are(scenes, "scene")))
        return found

    def existence(self) -> list[Question]:
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

    def needle(self) -> list[Question]:
        """What the card shows, and where it is; also where there is none."""
        shown = next((e for e in self.script.events if e.deed == "show"), None)
        if shown is None:
            kind = "digit" if self.rng.random() < 0.5 else "letter"
            return [self._made("needle", kind, f"No {kind} is shown.")]
        kind, other = "digit", "letter"
        if shown.glyph not in DIGITS:
            kind, other = other, kind
        answer = sentence(told(self.script, shown))
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

    def about(self, k: int) -> list[Question]:
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
        for wording, answer in self._places(k):
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
            told = [*self._places(k), *self._ways(k), ("action", deeds), ("action", deeds)]
            for wording, answer in told:
                if self.rng.random() < 0.5:
                    found.append(self._by_subtitles(nicknames[0], wording, answer))
        return found

    def _by_subtitles(self, nickname: str, wording: str, answer: str) -> Question:
        """A question that names a thing as the subtitles do."""
        asked = one_of(wording, self.rng).replace("the {n}", nickname)
        said = WORDINGS["subtitles"][0].format(l=" ".join(subtitles(self.script)))
        return Question("subtitles", f"{said}\n{asked}", answer)

    def _deeds(self, k: int) -> str:
        return f"the {named(self.script, k)} {deeds_of(self.script, k)}"

    def _places(self, k: int) -> list[tuple[str, str]]:
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

    def _follow(self, earlier: Question, wording: str, answer: str) -> Question:
        turn = (earlier.text, earlier.answer)
        return Question("follow-up", one_of(wording, self.rng), answer, (), (turn,))

    def _made(
        self, kind: str, wording: str, answer: str, claims: tuple[Claim, ...] = (), **words: str
    ) -> Question:
        text = one_of(wording, self.rng).format(**words)
        return Question(kind, capital(text), answer, claims)


def _there_are(number: int, noun: str) -> str:
    return f"There is one {noun}." if number == 1 else f"There are {NUMBERS[number]} {noun}s."
