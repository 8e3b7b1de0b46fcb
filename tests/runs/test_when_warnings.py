"""What the answer of a search for times has of its parts: seconds, warnings, which are asked."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dycoke_cli.answer.answer import Answer, Scoring, Seconds
from dycoke_cli.engine.context import ONE_FRAME
from dycoke_cli.errors import UsageError
from dycoke_cli.runs.time_search import Part
from dycoke_cli.runs.when import _warnings, find_when, usual_window_s
from dycoke_cli.video import Sampling
from tests.documents import example


def test_the_whole_is_asked_about_once_and_nothing_before_its_start() -> None:
    asked: list[Part | None] = []

    def ask(question: str, part: Part | None) -> Answer:
        asked.append(part)
        start, end = part or (2.0, 10.0)
        yes = 0.875 if start < 5 and end > 4 else 0.125
        return replace(
            example(Answer, question=question, seconds=example(Seconds, load=2.0, total=1.0)),
            probabilities={"yes": yes, "no": 1 - yes},
            scoring=example(Scoring, mass=0.75),
            warnings=("of a part" if part else "of the whole", f"{len(asked)} packets skipped"),
        )

    for window_s in (2.0, 8.0):  # as long as all of it
        asked.clear()
        found = find_when(ask, lambda: 10.0, Sampling(start_s=2.0), "Is it day?", window_s)
        [one] = found.when
        assert (one.start, one.end) == (pytest.approx(4, abs=0.25), pytest.approx(5, abs=0.25))
        whole, *parts = asked
        assert whole is None
        assert all(2 <= start < end <= 10 and end - start < 8 for start, end in parts)
        assert (found.seconds.total, found.seconds.load) == (len(asked), 2.0)
        assert found.warnings == ("of the whole", "1 packets skipped", "of a part")
    with pytest.raises(UsageError, match=r"parts of 5e-05 s are more than 100,000 in 8 s of video"):
        find_when(ask, lambda: 10.0, Sampling(start_s=2.0), "Is it day?", 5e-5)


def test_windows_are_an_eighth_of_the_video_within_bounds() -> None:
    assert [usual_window_s(length) for length in (4.0, 80.0, 1000.0)] == [2.0, 10.0, 60.0]


def test_a_part_of_one_frame_is_no_fault_of_the_video() -> None:
    one = example(Answer)
    answers = [
        replace(one, warnings=(ONE_FRAME, "3 damaged packets were skipped")),
        replace(one, warnings=("5 damaged packets were skipped",)),
    ]
    assert _warnings(answers) == ("3 damaged packets were skipped",)
