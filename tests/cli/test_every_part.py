"""`ask --every` and `--until`: which parts of a video are asked about, and what is refused."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from decimal import Decimal
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dycoke_cli.ask import Ask
from dycoke_cli.errors import UsageError
from dycoke_cli.loop import answer_batch
from dycoke_cli.loop.asker import Video
from dycoke_cli.runs import parts as parts_module
from dycoke_cli.runs.parts import Parts, groups_by_part
from dycoke_cli.video.sampling import Sampling, format_time, parse_time
from tests.cli.fake_engine import Fake
from tests.cli.harness import CLIP, run_here
from tests.documents import valid
from tests.runs.parts import REQUEST

# move.mp4 is 4 s long and has 8 frames per second.


def test_each_part_is_asked_about_with_frames_of_its_own(fake: Fake) -> None:
    run = run_here("ask", CLIP, "What?", "--every", "1.5s", "--frames", "3", "--quiet")
    assert run.code == 0
    assert run.out.splitlines() == [
        "0:00-0:01.5  a red circle moves right",
        "0:01.5-0:03  a red circle moves right",
        "0:03-0:04  a red circle moves right",
    ]
    assert [session.clip.part_s for session in fake] == [(0.0, 1.5), (1.5, 3.0), (3.0, 4.0)]
    for session in fake:
        start_s, end_s = session.clip.part_s
        assert len(session.clip.timestamps_s) == 3
        assert all(start_s <= time < end_s for time in session.clip.timestamps_s)


def test_an_object_of_each_part_has_its_times(fake: Fake) -> None:
    flags = ["--every", "0:01", "--start", "0.5", "--end", "3", "--json"]
    run = run_here("ask", CLIP, "-q", "What?", "-q", "Where?", *flags)
    found = [(one["question"], one["start"], one["end"]) for one in run.objects]
    parts = [(0.5, 1.5), (1.5, 2.5), (2.5, 3.0)]
    assert found == [(question, *part) for part in parts for question in ("What?", "Where?")]
    for document in run.objects:
        valid(document, "answer", "answer")


def test_parts_begin_at_the_decimals_that_were_given() -> None:
    """In binary, 3 times 0.1 s is more than 0.3 s, and a frame at 0.3 s was in the part before."""
    begun = [start for start, _ in islice(Parts(0.1).of(Sampling()), 1000)]
    assert begun == [float(Decimal(number) / 10) for number in range(1000)]
    begun = [start for start, _ in islice(Parts(0.1).of(Sampling(start_s=0.7)), 7)]
    assert [begun[number] for number in (1, 2, 6)] == [0.8, 0.9, 1.3]


@pytest.mark.parametrize(
    ("sampling", "every_s", "expected"),
    [
        (Sampling(start_s=0.5, end_s=2.0), 1.0, [(0.5, 1.5), (1.5, 2.0)]),
        (Sampling(start_s=1.5), 1.0, [(1.5, 2.5), (2.5, 3.5), (3.5, 4.5)]),
        (Sampling(end_s=9.0), 2.0, [(0.0, 2.0), (2.0, 4.0)]),
        # The last frame begins at 3.875 s.
        (Sampling(), 3.875, [(0.0, 3.875), (3.875, 7.75)]),
        (Sampling(), 3.876, [(0.0, 3.876)]),
        (Sampling(), 1.0, "parts of 1 s are more than 3 in 4 s of video"),
        (Sampling(start_s=0.5, end_s=3.75), 1.0, "more than 3 in 3.25 s"),
    ],
)
def test_parts_of_a_run(
    sampling: Sampling, every_s: float, expected: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As those of `ask`; a video that can't be opened keeps its question."""
    known = {"a": SimpleNamespace(duration_s=4.0, fps=8.0), "bad": None}
    monkeypatch.setattr(parts_module, "_info", lambda ask: known[ask.question])
    monkeypatch.setattr(parts_module, "MOST_PARTS", 3)
    request = replace(REQUEST, sampling=sampling)
    groups = [[Ask(name, request, ())] for name in ("bad", "a")]
    if isinstance(expected, str):
        with pytest.raises(UsageError, match=expected):
            groups_by_part(groups, Parts(every_s), lambda done, total: None)
        return
    heard: list[tuple[int, int]] = []
    bad, *found = groups_by_part(groups, Parts(every_s), lambda *done: heard.append(done))
    assert heard == [(1, 2), (2, 2)]
    assert bad == groups[0]
    assert [one.part_s for [one] in found] == expected
    of = [(one.request.sampling.start_s, one.request.sampling.end_s) for [one] in found]
    assert of == expected


def test_the_model_is_loaded_once_and_parts_are_freed(
    fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips, opened = [], answer_batch.open_video

    def noted(video: Video, *given: Any, **more: Any) -> Any:
        gc.collect()
        # Of the part before, nothing is left when the next is opened.
        assert [clip() for clip in clips] == [None] * len(clips)
        opened(video, *given, **more)
        fake.clear()  # the pretending engine's own list of sessions
        clips.append(weakref.ref(video.reading.clips[0]))

    monkeypatch.setattr(answer_batch, "open_video", noted)
    assert run_here("ask", CLIP, "What?", "--every", "0.5", "--frames", "2").code == 0
    assert (fake.loads, len(clips)) == (1, 8)


def test_until_stops_at_the_answer(fake: Fake) -> None:
    fake.answer = "Yes."
    run = run_here("ask", CLIP, "What?", "--every", "1", "--until", "yes", "--frames", "2")
    assert (run.out, "shows more" in run.err) == ("0:00-0:01  Yes.\n", False)
    fake.answer = "Yes it is"
    run = run_here("ask", CLIP, "What?", "--every", "1", "--until", "yes", "--frames", "2")
    assert len(run.out.splitlines()) == 4


def test_a_part_that_fails_ends_the_run_with_its_times(
    fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = parts_module.converse

    def failing(asker: Any, asks: Any, *given: Any, **more: Any) -> Any:
        if asks[0].part_s == (2.0, 3.0):
            fake.failure = "torch_cpu"
        return asked(asker, asks, *given, **more)

    monkeypatch.setattr(parts_module, "converse", failing)
    run = run_here("ask", CLIP, "What?", "--every", "1", "--frames", "2", "--json")
    assert run.code == 5
    *answers, failure = run.objects
    assert [one["start"] for one in answers] == [0.0, 1.0]
    assert (failure["error"]["code"], failure["start"], failure["end"]) == ("out_of_memory", 2, 3)
    valid(failure, "answer", "error")


WRONG = [
    (["--every", "0"], "--every must be longer than 0 s, not 0"),
    (["--every", "soon"], '"soon" isn\'t a time'),
    (["--every", "1", "--estimate"], "--estimate and --every exclude each other"),
    (["--every", "1", CLIP], "--every takes one video"),
    (["--every", "1", "--until", "yes", "-q", "Why?"], "--until takes one question"),
    (
        ["--every", "1", "--until", "maybe", "--yes-no"],
        "--until 'maybe' is none of the options: yes, no",
    ),
    (["--every", "1", "--start", "9"], "--start 9 s lies beyond the end of the video"),
]


@pytest.mark.parametrize(("flags", "sentence"), WRONG)
def test_what_is_wrong_is_one_sentence(flags: list[str | Path], sentence: str) -> None:
    assert sentence in run_here("ask", CLIP, "What is it?", *flags).refusal


def test_stdin_has_no_parts() -> None:
    run = run_here("ask", "-", "What is it?", "--every", "1", stdin=CLIP.read_bytes())
    assert "stdin can be read once: save it to a file" in run.refusal


@pytest.mark.parametrize("seconds", [0.0, 7.5, 59.999, 60.0, 3599.9996, 3661.25])
def test_a_time_that_is_shown_can_be_typed(seconds: float) -> None:
    assert parse_time(format_time(seconds)) == pytest.approx(seconds, abs=0.0005)
