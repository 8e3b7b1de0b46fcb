"""The kept table is made of the kept choices, which are scored anew here."""

from __future__ import annotations

import pytest

from benchmarks import guard_choices
from benchmarks.kept_tables import csv_files, kept_files
from dycoke_cli.engine.typed_options import TypedOptions
from dycoke_cli.evaluation.dataset import Item


@pytest.mark.extended
@pytest.mark.slow
def test_the_table_is_made_of_the_answers() -> None:
    name = guard_choices.NAME
    assert csv_files(guard_choices.table(), name) == kept_files(name)


@pytest.mark.slow
def test_kept_choices_are_those_of_the_questions() -> None:
    _, found = guard_choices.read_kept()
    items = {item.id: item for item in guard_choices.asked_items()}
    for split, videos in guard_choices.VIDEOS.items():
        words, options = found["words"][split], found["options"][split]
        assert len(options) == videos
        assert words.keys() == options.keys()
        for video, rows in options.items():
            asked = {item.question: item for item in items.values() if item.video == video}
            for row, answers in rows.items():
                assert [one.observation.question for one in answers] == [
                    one.observation.question for one in words[video][row]
                ]
                for base, one in zip(rows["none"], answers, strict=True):
                    item = asked[one.observation.question]
                    assert one.observation.answer in guard_choices.options_of(item)
                    same = one.observation.answer == base.observation.answer
                    assert one.observation.same is same
                    # By hand: the reference begins with the choice ("Yes, there is …", "B").
                    assert one.right is item.answer.lower().startswith(
                        one.observation.answer.lower()
                    )


def test_questions_with_options_are_those_of_letters_and_of_existence() -> None:
    item = Item("1", "v", "Is there a star?", "Yes, there is a star.", "existence", "")
    assert TypedOptions(guard_choices.options_of(item)) == TypedOptions.yes_no()
    letters = Item("2", "v", "Which?", "B", "letter", "", options=("Red.", "Green.", "Blue."))
    assert guard_choices.options_of(letters) == ("A", "B", "C")
    assert not guard_choices.options_of(Item("3", "v", "What?", "A star.", "action", ""))
