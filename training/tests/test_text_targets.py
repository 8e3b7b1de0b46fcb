"""Whom a name means, which event is named and which one told, which letter an option has."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from dycoke_cli.shapes.script import COLOURS, NAMES, SHAPES
from training.batches import Shape
from training.packing import pack
from training.text_targets import NAMED, namings, placed, sought
from training.world.random_scripts import draw_script
from training.world.script_questions import Claim, ScriptQuestion, ask, event_clause

from .parts import batch_of, parts, words
from .test_packing import asked, of

STAR = "the red star spins"
EVENTS = [STAR, "the blue cross moves up", STAR, "the letter B is shown"]


def test_events_are_found_where_their_last_word_stands() -> None:
    codec = parts()[0]
    text = "What happens after the blue cross moves up?"
    question = ScriptQuestion("order", text, "The red star spins.", (Claim(EVENTS[1], True),))
    # what happens after the blue cross moves up ?
    assert placed(question, EVENTS, codec) == {7: 2}
    # The star spins twice: that is no one event.
    assert not any(sought(question, EVENTS, codec))
    before = ScriptQuestion("order", "What happens before that?", "The blue cross moves up.")
    assert placed(before, EVENTS, codec) == {}
    # The blue cross moves up . and the end
    assert sought(before, EVENTS, codec) == [2] * 7


def test_options_are_events_too_and_the_right_one_is_sought() -> None:
    codec = parts()[0]
    text = "What happens last?\nA. The blue cross moves up.\nB. The letter B is shown.\nC. No."
    claims = (Claim("The blue cross moves up", False), Claim("The letter B is shown", True))
    question = ScriptQuestion("letter", text, "B", claims)
    found = placed(question, EVENTS, codec)
    said = words(codec.question(text))
    assert {said[i]: number for i, number in found.items()} == {"up": 2, "shown": 4}
    assert sought(question, EVENTS, codec) == [4, 4]


def test_earlier_turns_are_counted_with() -> None:
    codec = parts()[0]
    turn = ("What happens first?", "The letter B is shown.")
    question = ScriptQuestion("follow-up", "And then?", "The blue cross moves up.", (), (turn,))
    said = words(codec.question(question.text, question.earlier))
    assert {said[i]: number for i, number in placed(question, EVENTS, codec).items()} == {
        "shown": 4
    }
    assert sought(question, EVENTS, codec) == [2] * 7


def test_a_description_tells_event_after_event() -> None:
    def told_at(answer: str, events: list[str]) -> list[int]:
        return sought(ScriptQuestion("description", "What happens?", answer), events, parts()[0])

    told_all = "First the red star spins, then the blue cross moves up, finally the red star spins."
    # First the red star spins , | then the blue cross moves up , | finally the red star spins .
    assert told_at(told_all, EVENTS[:3]) == [1] * 6 + [2] * 7 + [3] * 7
    assert told_at("The red star spins.", [STAR]) == [1] * 6
    assert told_at("Nothing happens.", []) == [0] * 4


def test_in_a_packed_row_they_stand_with_their_questions() -> None:
    codec, seen = parts()[0], 0
    for seed in range(15):
        script = draw_script([seed, 6], "train")
        events = [event_clause(script, event) for event in script.events]
        row = pack(ask(script, np.random.default_rng(seed)), 600, codec, events)
        for word, token in zip(words(of(row, "text")), row.tokens, strict=True):
            if token.placed:
                assert word == events[token.placed - 1].lower().split()[-1]
        for token in row.tokens:
            question, number = row.questions[token.segment], token.sought
            if number and question.kind != "description":
                assert token.answered
                option = [c.text for c in question.claims if c.true]
                told_there = option[0] if question.kind == "letter" else question.answer
                assert told_there.lower().startswith(events[number - 1].lower())
                seen += 1
    assert seen > 15


def facts(name: str, colour: str, shape: str) -> tuple[int, ...]:
    return NAMES.index(name) + 1, COLOURS.index(colour) + 1, SHAPES.index(shape) + 1


def test_names_by_hand() -> None:
    codec, *_ = parts()
    text = (
        "Subtitles: I call the red star Ben. Look, Dan is the blue circle.\nWhere does Ben start?"
    )
    found = namings(ScriptQuestion("subtitles", text, "The red star starts at the top."), codec)
    # subtitles : i call the red star ben . look , dan is the blue circle . where does ben start ?
    ben, dan = facts("Ben", "red", "star"), facts("Dan", "blue", "circle")
    # start ? <|im_end|> <|im_start|> assistant
    assert found == {7: ben, 15: dan, 19: ben, 24: ben}
    # Other questions settle nothing.
    other = ScriptQuestion("position", "Where is the red star?", "In the middle.")
    assert namings(other, codec) == {}


def test_each_name_in_a_batch_is_settled_and_fits_what_the_row_says() -> None:
    codec, *_ = parts()
    batch = batch_of(3, Shape(videos=6, frames=1, text=200))
    ids = {i: word for word in (*NAMES, *COLOURS, *SHAPES) for i in codec.text(word)}
    settled = 0
    for row in range(6):
        said = [ids.get(int(i), "") for i in batch.text[row]]
        for at in np.flatnonzero(batch.named[row, :, 0]):
            told = facts_in(said[max(0, at - 40) : at + 1])
            assert tuple(batch.named[row, at].tolist()) in told
            assert said[at] in (*NAMES, *SHAPES) or batch.text[row, at] == codec.question("")[-1]
            settled += 1
    assert settled >= 6
    assert (batch.named.amax((0, 1)).numpy() < NAMED).all()


def facts_in(said: list[str]) -> set[tuple[int, ...]]:
    """The names near a colour and a shape that stand next to each other."""
    near = set()
    for i, (colour, shape) in enumerate(pairwise(said)):
        if colour in COLOURS and shape in SHAPES:
            for name in {*said[max(0, i - 3) : i], *said[i + 2 : i + 3]} & set(NAMES):
                near.add(facts(name, colour, shape))
    return near


TEXT = "What does the card show?\nA. R.\nB. F.\nC. M.\nD. E.\nAnswer with the option's letter."


def test_each_option_by_hand() -> None:
    codec = parts()[0]
    claims = tuple(Claim(glyph, glyph == "M") for glyph in "RFME")
    row = pack([ScriptQuestion("letter", TEXT, "C", claims)], 60, codec, [])
    # what does the card show ? a . r . b . f . c . m . d . e .
    # Behind "assistant" the letter and the end token: each would weigh 0.7 in another answer.
    assert row.tokens[-1].weight == 0
    assert max(of(row, "weight")) == pytest.approx(4 * 2**-0.5)
    found = {i: facts for i, facts in enumerate(of(row, "chosen")) if any(facts)}
    assert found == {8: (1, 0), 12: (2, 0), 16: (3, 3), 20: (4, 0)}
    # A claim outside of options has no letter.
    claims = (Claim("a red circle", True),)
    question = ScriptQuestion("existence", "Is there a red circle?", "Yes, there is.", claims)
    row = pack([question], 30, codec, [])
    assert not any(any(facts) for facts in of(row, "chosen"))


def test_the_letter_is_the_one_in_the_options_line_and_the_right_one_is_the_answer() -> None:
    codec, seen = parts()[0], 0
    for seed in range(20):
        for question in (q for q in asked(seed) if q.kind == "letter"):
            row = pack([question], 400, codec, [])
            found = [(i, facts) for i, facts in enumerate(of(row, "chosen")) if any(facts)]
            said = words(of(row, "text"))
            for end, (letter, right) in found:
                # The full stop behind it, and before it the last "a .", "b ." ... that begins it.
                marks = [w for w, dot in pairwise(said[: end + 1]) if dot == "."]
                assert marks[-1] == " abcd"[letter]
                assert right in (0, letter)
            assert [" ABCD"[right] for _, (_, right) in found if right] == [question.answer]
            seen += 1
    assert seen > 10
