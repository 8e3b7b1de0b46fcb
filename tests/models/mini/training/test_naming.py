"""Whom a name means, by hand and by what the model itself is shown."""

from __future__ import annotations

import numpy as np

from dycoke_cli.models.mini.training.batches import Shape
from dycoke_cli.models.mini.training.naming import NAMED, namings
from dycoke_cli.shapes.questions.question import Question
from dycoke_cli.shapes.world.vocabulary import COLOURS, NAMES, SHAPES

from .parts import batch_of, parts


def facts(name: str, colour: str, shape: str) -> tuple[int, ...]:
    return NAMES.index(name) + 1, COLOURS.index(colour) + 1, SHAPES.index(shape) + 1


def test_names_by_hand() -> None:
    codec, *_ = parts()
    text = (
        "Subtitles: I call the red star Ben. Look, Dan is the blue circle.\nWhere does Ben start?"
    )
    found = namings(Question("subtitles", text, "The red star starts at the top."), codec)
    # subtitles : i call the red star ben . look , dan is the blue circle . where does ben start ?
    ben, dan = facts("Ben", "red", "star"), facts("Dan", "blue", "circle")
    # start ? <|im_end|> <|im_start|> assistant
    assert found == {7: ben, 15: dan, 19: ben, 24: ben}


def test_other_questions_settle_nothing() -> None:
    codec, *_ = parts()
    assert namings(Question("position", "Where is the red star?", "In the middle."), codec) == {}


def test_each_name_in_a_batch_is_settled_and_fits_what_the_row_says() -> None:
    codec, *_ = parts()
    batch = batch_of(3, Shape(videos=6, frames=1, text=200))
    ids = {i: word for word in (*NAMES, *COLOURS, *SHAPES) for i in codec.text(word)}
    settled = 0
    for row in range(6):
        words = [ids.get(int(i), "") for i in batch.text[row]]
        for at in np.flatnonzero(batch.named[row, :, 0]):
            told = facts_in(words[max(0, at - 40) : at + 1])
            assert tuple(batch.named[row, at].tolist()) in told
            assert words[at] in (*NAMES, *SHAPES) or batch.text[row, at] == codec.question("")[-1]
            settled += 1
    assert settled >= 6
    assert (batch.named.amax((0, 1)).numpy() < NAMED).all()


def facts_in(words: list[str]) -> set[tuple[int, ...]]:
    """The names near a colour and a shape that stand next to each other."""
    near = set()
    for i in range(len(words) - 1):
        if words[i] in COLOURS and words[i + 1] in SHAPES:
            for name in {*words[max(0, i - 3) : i], *words[i + 2 : i + 3]} & set(NAMES):
                near.add(facts(name, words[i], words[i + 1]))
    return near
