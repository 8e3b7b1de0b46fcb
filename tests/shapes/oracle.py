"""Right answers from a question's text and what a witness saw; shares no code with the maker's."""

from __future__ import annotations

import re

from dycoke_cli.shapes.script import Script
from tests.shapes.witness import Witness, place_of

HUES = "red|orange|yellow|green|blue|purple"
FORMS = "circle|square|triangle|star|cross"
THING = rf"(?:(?:{HUES}) )?(?:{FORMS})|(?:{HUES}) (?:object|shape|thing)"
ASKED_FOR = re.compile(r"(?:Is there|Do you see|Does the video show) an? (.+?)(?: in the video)?\?")
NUMBERS = ["zero", "one", "two", "three", "four", "five", "six"]
NICKNAME = re.compile(rf"(\w+) is the ({THING})\.|I call the ({THING}) (\w+)\.")


class Oracle:
    def __init__(self, script: Script) -> None:
        self.saw = Witness(script)
        self.clauses = [d.clause for d in self.saw.deeds]

    def answer(self, text: str, earlier: tuple[tuple[str, str], ...] = ()) -> str:
        """The right answer, to the letter; fails where the question fits more than one thing."""
        if text.startswith("Subtitles: "):
            return self._with_subtitles(text)
        if "\nA. " in text:
            return self._letter(text)
        if earlier:
            return self._follow_up(text, *earlier[0])
        if asked := ASKED_FOR.fullmatch(text):
            found = self.called(asked[1])
            return f"Yes, there is {_a(asked[1])}." if found else f"No, there is no {asked[1]}."
        if text.startswith("How many"):
            return self._count(text)
        if re.match(r"(Which|What) (digit|letter) |.* card\b", text):
            return self._card(text)
        if found := re.search(r"\b(after|before) (the .+?)(?:\?|, what)", text, re.IGNORECASE):
            return self._beside(found[2], 1 if found[1].lower() == "after" else -1)
        if found := re.search(rf"\bthe ({THING})\b", text):
            return self._about(text, found[1])
        if re.search(r"first\?|first thing|begin", text):
            return _sentence(self.clauses[0])
        if re.search(r"last thing|happens last|video end", text):
            return _sentence(self.clauses[-1])
        return self._description()

    def called(self, name: str) -> list[int]:
        """The things that ever fit a name."""
        words = set(name.split()) - {"object", "shape", "thing"}
        things = range(len(self.saw.names))
        both = ((self.saw.names[k].split(), self.saw.last_names[k].split()) for k in things)
        return [k for k, (a, b) in zip(things, both, strict=True) if words <= {*a} or words <= {*b}]

    def _description(self) -> str:
        *others, last = self.clauses
        if not others:
            return _sentence(last)
        links = ["first", *["then"] * (len(others) - 1), "finally"]
        told = [f"{a} {b}" for a, b in zip(links, self.clauses, strict=True)]
        return _sentence(", ".join(told))

    def _count(self, text: str) -> str:
        if "scene" in text:
            return _there_are(len(self.saw.script.scenes), "scene")
        if "event" in text or "happen" in text:
            happen = "thing happens" if len(self.clauses) == 1 else "things happen"
            return f"{NUMBERS[len(self.clauses)]} {happen}.".capitalize()
        return _there_are(len(self.saw.names), "shape")

    def _card(self, text: str) -> str:
        cards = [(d, e) for d, e in zip(self.saw.deeds, self.saw.script.events, strict=True)
                 if d.who < 0]  # fmt: skip
        if "Where" in text:
            [(deed, event)] = cards
            place = place_of(*((c + 0.5) / 3 for c in event.cell))
            return _sentence(deed.clause.replace("is shown", f"is shown {place}"))
        for kind in ("digit", "letter"):
            if kind in text and not any(kind in deed.clause for deed, _ in cards):
                return f"No {kind} is shown."
        [(deed, _)] = cards
        return _sentence(deed.clause)

    def _beside(self, clause: str, step: int) -> str:
        [i] = [i for i, c in enumerate(self.clauses) if c == clause]
        if 0 <= i + step < len(self.clauses):
            return _sentence(self.clauses[i + step])
        return f"Nothing happens {'after' if step > 0 else 'before'} that."

    def _about(self, text: str, name: str) -> str:
        found = self.called(name)
        if not found:
            return f"There is no {name}."
        [k] = found
        saw, full, (first, last) = self.saw, self.saw.names[k], self.saw.seen(k)
        if re.search("colou?r", text):
            assert "end" in text or "start" in text or full == saw.last_names[k]
            return f"It is {_a(saw.last_names[k] if ' end' in text else full)}."
        if "shape is" in text or "the shape of" in text or text.startswith("What is"):
            return f"It is {_a(full)}."
        if re.search(r"\bdo\b|happens to", text):
            deeds = [d.predicate for d in saw.does(k)] or ["stays still"]
            return f"The {full} {', then '.join(deeds)}."
        for verb in ("move", "enter", "leave"):
            if re.search(rf"\b{verb}\b", text):
                [deed] = [d for d in saw.does(k) if d.predicate.startswith(verb)]
                return f"The {full} {deed.predicate}."
        if re.search(r"\b(starts?|first)\b", text):
            assert saw.inside(k, first)
            return f"The {full} starts {saw.place(k, first)}."
        if re.search(r"\b(ends?|last)\b", text):
            assert saw.inside(k, last)
            return f"The {full} ends {saw.place(k, last)}."
        assert not any(d.travels for d in saw.does(k))
        return f"The {full} is {saw.place(k, first)}."

    def _with_subtitles(self, text: str) -> str:
        said, asked = text.split("\n")
        for a in NICKNAME.finditer(said):
            nickname, name = (a[1], a[2]) if a[1] else (a[4], a[3])
            asked = re.sub(rf"\b{nickname}\b", f"the {name}", asked)
        return self.answer(asked)

    def _follow_up(self, text: str, asked: str, answered: str) -> str:
        assert self.answer(asked) == answered
        if re.search(r"\bit\b", text):
            [name] = re.findall(rf"\b(?:the|a|an) ({THING})\b", asked)
            return self.answer(re.sub(r"\bit\b", f"the {name}", text).replace("And what", "What"))
        clause = answered[0].lower() + answered[1:].removesuffix(".")
        return self._beside(clause, 1)

    def _letter(self, text: str) -> str:
        question, *listed = text.split("\n")[:-1]
        options = {line[0]: _clause(line[3:]) for line in listed}
        assert list(options) == ["A", "B", "C", "D"]
        assert len(set(options.values())) == 4
        [right] = [letter for letter, said in options.items() if self._fits(question, said)]
        return right

    def _fits(self, question: str, said: str) -> bool:
        if question in ("Which of these happens?", "What happens in the video?"):
            return said in self.clauses
        if "in the video" in question or "do you see" in question:
            return bool(self.called(said.split(" ", 1)[1]))
        right = _clause(self.answer(question))
        words = right.split()
        if " card" in question:
            return said.upper() == words[2]
        if "colo" in question:
            return said == words[3]
        return said == right.partition(" starts ")[2] if " starts " in right else said == right


def _clause(text: str) -> str:
    return text[0].lower() + text[1:].removesuffix(".")


def _sentence(clause: str) -> str:
    return clause[0].upper() + clause[1:] + "."


def _a(name: str) -> str:
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _there_are(number: int, noun: str) -> str:
    return f"There {'is' if number == 1 else 'are'} {NUMBERS[number]} {noun}{'s' * (number != 1)}."
