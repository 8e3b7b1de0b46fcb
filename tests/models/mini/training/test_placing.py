"""Which event is named where, and which one an answer tells."""

from __future__ import annotations

import numpy as np

from dycoke_cli.models.mini.training.packing import pack
from dycoke_cli.models.mini.training.placing import placed, sought
from dycoke_cli.shapes.questions.ask import ask
from dycoke_cli.shapes.questions.question import Claim, Question
from dycoke_cli.shapes.questions.telling import told
from dycoke_cli.shapes.world.director import draw_script

from .parts import parts
from .test_packing import of

STAR = "the red star spins"
EVENTS = [STAR, "the blue cross moves up", STAR, "the letter B is shown"]


def test_events_are_found_where_their_last_word_stands() -> None:
    codec = parts()[0]
    text = "What happens after the blue cross moves up?"
    question = Question("order", text, "The red star spins.", (Claim(EVENTS[1], True),))
    # what happens after the blue cross moves up ?
    assert placed(question, EVENTS, codec) == {7: 2}
    # The star spins twice: that is no one event.
    assert not any(sought(question, EVENTS))
    before = Question("order", "What happens before that?", "The blue cross moves up.")
    assert placed(before, EVENTS, codec) == {}
    # The blue cross moves up . and the end
    assert sought(before, EVENTS) == [2] * 7


def test_options_are_events_too_and_the_right_one_is_sought() -> None:
    codec = parts()[0]
    text = "What happens last?\nA. The blue cross moves up.\nB. The letter B is shown.\nC. No."
    claims = (Claim("The blue cross moves up", False), Claim("The letter B is shown", True))
    question = Question("letter", text, "B", claims)
    found = placed(question, EVENTS, codec)
    words = parts()[1].tokenizer.convert_ids_to_tokens(codec.question(text))
    assert {words[i]: number for i, number in found.items()} == {"up": 2, "shown": 4}
    assert sought(question, EVENTS) == [4, 4]


def test_earlier_turns_are_counted_with() -> None:
    codec = parts()[0]
    turn = ("What happens first?", "The letter B is shown.")
    question = Question("follow-up", "And then?", "The blue cross moves up.", (), (turn,))
    ids = codec.question(question.text, question.earlier)
    words = parts()[1].tokenizer.convert_ids_to_tokens(ids)
    ((place, number),) = placed(question, EVENTS, codec).items()
    assert (words[place], number) == ("shown", 4)
    assert sought(question, EVENTS) == [2] * 7


def test_a_description_tells_event_after_event() -> None:
    def told_at(answer: str, events: list[str]) -> list[int]:
        return sought(Question("description", "What happens?", answer), events)

    told_all = "First the red star spins, then the blue cross moves up, finally the red star spins."
    # First the red star spins , | then the blue cross moves up , | finally the red star spins .
    assert told_at(told_all, EVENTS[:3]) == [1] * 6 + [2] * 7 + [3] * 7
    assert told_at("The red star spins.", [STAR]) == [1] * 6
    assert told_at("Nothing happens.", []) == [0] * 4


def test_in_a_packed_row_they_stand_with_their_questions() -> None:
    codec, processor, _ = parts()
    seen = 0
    for seed in range(30):
        script = draw_script([seed, 6], "train")
        events = [told(script, event) for event in script.events]
        row = pack(ask(script, np.random.default_rng(seed)), 600, codec, events)
        words = processor.tokenizer.convert_ids_to_tokens(of(row, "text"))
        for word, token in zip(words, row.tokens, strict=True):
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
    assert seen > 30
