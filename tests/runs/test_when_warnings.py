"""Warnings of a search for times: once of all parts, and none about how long a part is."""

from __future__ import annotations

from dataclasses import replace

from dycoke_cli.answer.answer import Answer
from dycoke_cli.engine.context import ONE_FRAME
from dycoke_cli.runs.when import _warnings
from tests.documents import example


def test_a_part_of_one_frame_is_no_fault_of_the_video() -> None:
    one = example(Answer)
    answers = [
        replace(one, warnings=(ONE_FRAME, "3 damaged packets were skipped")),
        replace(one, warnings=("5 damaged packets were skipped",)),
    ]
    assert _warnings(answers) == ("3 damaged packets were skipped",)
