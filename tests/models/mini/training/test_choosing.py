"""Which letter an option has, and which one is right, where the option ends."""

from __future__ import annotations

from itertools import pairwise

import pytest

from dycoke_cli.models.mini.training.packing import pack
from dycoke_cli.shapes.questions.question import Claim, Question

from .parts import parts
from .test_packing import asked, of

TEXT = "What does the card show?\nA. R.\nB. F.\nC. M.\nD. E.\nAnswer with the option's letter."


def test_each_option_by_hand() -> None:
    codec = parts()[0]
    claims = tuple(Claim(glyph, glyph == "M") for glyph in "RFME")
    row = pack([Question("letter", TEXT, "C", claims)], 60, codec, [])
    # what does the card show ? a . r . b . f . c . m . d . e .
    # Behind "assistant" the letter and the end token: each would weigh 0.7 in another answer.
    assert row.tokens[-1].weight == 0
    assert max(of(row, "weight")) == pytest.approx(4 * 2**-0.5)
    found = {i: facts for i, facts in enumerate(of(row, "chosen")) if any(facts)}
    assert found == {8: (1, 0), 12: (2, 0), 16: (3, 3), 20: (4, 0)}


def test_a_claim_outside_of_options_has_no_letter() -> None:
    claims = (Claim("a red circle", True),)
    question = Question("existence", "Is there a red circle?", "Yes, there is.", claims)
    row = pack([question], 30, parts()[0], [])
    assert not any(any(facts) for facts in of(row, "chosen"))


def test_the_letter_is_the_one_in_the_options_line_and_the_right_one_is_the_answer() -> None:
    codec, seen = parts()[0], 0
    for seed in range(40):
        for question in (q for q in asked(seed) if q.kind == "letter"):
            row = pack([question], 400, codec, [])
            found = [(i, facts) for i, facts in enumerate(of(row, "chosen")) if any(facts)]
            words = parts()[1].tokenizer.convert_ids_to_tokens(of(row, "text"))
            for end, (letter, right) in found:
                # The full stop behind it, and before it the last "a .", "b ." ... that begins it.
                marks = [w for w, dot in pairwise(words[: end + 1]) if dot == "."]
                assert marks[-1] == " abcd"[letter]
                assert right in (0, letter)
            assert [" ABCD"[right] for _, (_, right) in found if right] == [question.answer]
            seen += 1
    assert seen > 20
