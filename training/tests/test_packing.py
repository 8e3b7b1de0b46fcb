"""Questions packed behind a clip: what is learned where, and where claims stand."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from training.packing import FALSE, IGNORED, TRUE, Row, in_turns, pack
from training.world.random_scripts import draw_script
from training.world.script_questions import Claim, ScriptQuestion, ask

from .parts import parts, words


@cache
def asked(seed: int) -> list[ScriptQuestion]:
    return ask(draw_script([seed, 6], "train"), np.random.default_rng(seed))


def of(row: Row, name: str) -> list:
    """One of the columns of a packed row."""
    return [getattr(token, name) for token in row.tokens]


def test_a_row_by_hand() -> None:
    codec, _, _ = parts()
    earlier = (("What colour is the star?", "It is a red star."),)
    questions = [
        ScriptQuestion("existence", "Is there a red circle?", "Yes, there is a red circle.",
                 (Claim("a red circle", True),)),
        ScriptQuestion("existence", "Is there a blue star?", "No, there is no blue star.",
                 (Claim("a blue star", False),)),
        ScriptQuestion("follow-up", "What does it do?", "The red star spins.", (), earlier),
    ]  # fmt: skip
    row = pack(questions, 80, codec, [])
    text = words(of(row, "text"))
    assert text[:9] == ["is", "there", "a", "red", "circle", "?", "<|im_end|>", "<|im_start|>",
                        "assistant"]  # fmt: skip
    # The end token is predicted from the full stop and isn't an input.
    assert text[9:18] == ["Yes", ",", "there", "is", "a", "red", "circle", ".", "is"]
    labels = [words([i])[0] if i != IGNORED else "" for i in of(row, "label")]
    assert labels[:9] == ["", "", "red", "circle", "", "", "", "", "Yes"]
    assert labels[9:17] == [",", "there", "is", "a", "red", "circle", ".", "<|im_end|>"]
    assert of(row, "answered")[:17] == [False] * 8 + [True] * 9
    assert row.tokens[4].verdict == TRUE
    assert [i for i, v in enumerate(of(row, "verdict")) if v == FALSE] == [17 + 4]
    # Nothing of a false claim is learned.
    assert labels[17:25] == [""] * 8
    assert text[34:].index("spins") == text[34:].index("The") + 3
    segments, positions, weights = of(row, "segment"), of(row, "position"), of(row, "weight")
    left = segments.count(-1)
    assert segments == [0] * 17 + [1] * 17 + [2] * (80 - 34 - left) + [-1] * left
    assert positions[:17] == positions[17:34] == list(range(17))
    assert weights[2] < weights[8] == pytest.approx(9**-0.5)
    assert len(row.tokens) == 80
    padding = row.tokens[-1]
    assert (padding.label, padding.weight, padding.answered) == (IGNORED, 0, False)


def test_what_does_not_fit_is_left_out_and_the_next_is_tried() -> None:
    codec, _, _ = parts()
    long = ScriptQuestion("action", "What does the red circle do?" * 4, "The red circle spins.")
    short = ScriptQuestion("action", "What does it do?", "The red circle spins.")
    row = pack([short, long, short], 32, codec, [])
    assert row.questions == [short, short]
    assert pack([], 0, codec, []).tokens == []


def test_claims_are_found_where_they_stand() -> None:
    """An option's claim lies in that option's line, for lines counted one by one."""
    codec, _, _ = parts()
    kinds = set()
    for seed in range(20):
        for question in (q for q in asked(seed) if q.claims):
            row = pack([question], 400, codec, [])
            ends = [(i, v) for i, v in enumerate(of(row, "verdict")) if v != IGNORED]
            assert [v == TRUE for _, v in ends] == [c.true for c in question.claims]
            lines = [codec.text(line) for line in question.text.split("\n")]
            starts = np.cumsum([0, *map(len, lines)])
            for n, ((end, _), claim) in enumerate(zip(ends, question.claims, strict=True)):
                said = codec.text(claim.text)
                assert tuple(of(row, "text")[end + 1 - len(said) : end + 1]) == said
                if question.kind == "letter":
                    # The line holds "A", ".", the claim, and "."; the question is line 0.
                    assert end == starts[n + 1] + 1 + len(said)
                    kinds.add(question.text.split("?")[0])
    assert any("card" in kind for kind in kinds)
    assert any("start" in kind for kind in kinds)


def test_kinds_take_turns() -> None:
    questions = asked(3)
    order = in_turns(questions, ("needle",), np.random.default_rng(0))
    assert sorted(map(id, order)) == sorted(map(id, questions))
    kinds = [q.kind for q in order]
    different = len(set(kinds))
    assert len(set(kinds[:different])) == different
    assert kinds[0] == "needle"
