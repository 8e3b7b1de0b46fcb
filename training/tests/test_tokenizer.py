"""The tokenizer: whole words, no case, capitals and marks back in the answers."""

from __future__ import annotations

import re

import numpy as np
import pytest

from dycoke_cli.shapes.script import COLOURS, GLYPHS, SHAPES
from training.tokenizer import CLOSE, UNKNOWN, Codec, build_tokenizer
from training.world.random_scripts import draw_script
from training.world.script_questions import WORDINGS, ScriptQuestion, ask, ask_the_unknown


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer()


@pytest.fixture(scope="module")
def questions() -> list[ScriptQuestion]:
    found = []
    for i in range(30):
        script = draw_script([i, 2], "train")
        found += ask(script, np.random.default_rng(i))
    return found + ask_the_unknown(script, np.random.default_rng(0))


def test_answers_come_back_to_the_letter(tokenizer, questions) -> None:
    codec = Codec(tokenizer)
    for answer in {q.answer for q in questions}:
        ids = codec.answer(answer)
        assert tokenizer.decode(ids, skip_special_tokens=True) == answer
        assert ids[-1] == tokenizer.convert_tokens_to_ids(CLOSE)


def test_questions_hold_no_unknown_word_and_ignore_case(tokenizer, questions) -> None:
    unknown = tokenizer.convert_tokens_to_ids(UNKNOWN)
    for text in {part for q in questions for part in (q.text, *sum(q.earlier, ()))}:
        ids = tokenizer(text)["input_ids"]
        assert unknown not in ids, text
        assert ids == tokenizer(text.upper())["input_ids"]
        assert ids == tokenizer("  " + text + " ")["input_ids"]


def test_every_wording_and_every_word_of_the_world_is_known(tokenizer) -> None:
    """Also those that no script of the test above drew."""
    texts = [re.sub(r"\{.\}", "", w) for group in WORDINGS.values() for w in group]
    unknown = tokenizer.convert_tokens_to_ids(UNKNOWN)
    for text in (*texts, *COLOURS, *SHAPES, *GLYPHS):
        assert unknown not in tokenizer(text)["input_ids"], text
    codec = Codec(tokenizer)
    for glyph in GLYPHS:
        kind = "digit" if glyph.isdigit() else "letter"
        answer = f"The {kind} {glyph} is shown."
        assert tokenizer.decode(codec.answer(answer), skip_special_tokens=True) == answer


def test_unknown_words_are_one_token_each(tokenizer) -> None:
    ids = tokenizer("What does the zebra do, 42?")["input_ids"]
    words = tokenizer.convert_ids_to_tokens(ids)
    assert words == ["what", "does", "the", UNKNOWN, "do", ",", UNKNOWN, "?"]


def test_an_answer_with_a_word_it_cannot_say_is_refused(tokenizer) -> None:
    with pytest.raises(KeyError):
        Codec(tokenizer).answer("It is a red zebra.")


def test_the_user_cannot_write_an_answer_s_first_word(tokenizer) -> None:
    it = tokenizer.convert_tokens_to_ids("It")
    assert it not in tokenizer("It is It")["input_ids"]
