"""A run asks each question once, whatever came before, and changes run anew."""

from __future__ import annotations

import json
import signal
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dycoke_cli.answer.answer import Scoring
from dycoke_cli.ask import Ask
from dycoke_cli.errors import ModelError
from dycoke_cli.loop.plan import RunPlan
from dycoke_cli.runs.batch_journal import open_results
from dycoke_cli.runs.listener import Listener, RunCounts
from dycoke_cli.runs.run import run
from tests.runs.parts import PLAN, Group, Heard, groups_in
from tests.runs.pretended import Pretended, make_clips, pretended_answer, valid
from training.world.script_questions import UNKNOWN


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    return make_clips(tmp_path / "clips", "a.mp4", "b.mp4", "bad.mp4", "c.mp4")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "results.jsonl"


def once(
    out: Path,
    groups: list[Group],
    plan: RunPlan = PLAN,
    engine: Any = None,
    listener: Listener | None = None,
    **options: bool,
) -> tuple[RunCounts, list[tuple[str, str]]]:
    """Run; what was counted, and what the engine was asked."""
    engine = engine or Pretended()
    with open_results(out) as results:
        counts = run(groups, plan, results, engine, listener or Heard(), **options)
    return counts, getattr(engine, "asked", [])


def lines(out: Path) -> list[dict[str, Any]]:
    return [valid(json.loads(line)) for line in out.read_text().splitlines()]


def test_each_question_has_one_line(clips: Path, out: Path) -> None:
    counts, asked = once(out, groups_in(clips, "What?", "Why?"))
    assert Counter(asked) == {
        (f"{n}.mp4", q): 1 for n in ("a", "b", "bad", "c") for q in ("What?", "Why?")
    }
    assert [(line["video"], line["question"]) for line in lines(out)] == [
        (str(clips / name), question) for name, question in asked
    ]
    assert (counts.answered, counts.failed, counts.skipped) == (6, 2, 0)
    assert (counts.clips, counts.questions, counts.done) == (4, 8, 8)
    assert counts.tokens == 6 * 3
    bad = [line for line in lines(out) if "error" in line]
    assert [line["error"] for line in bad] == [
        {"code": "video_unreadable", "message": "it can't be read"}
    ] * 2


def test_the_root_may_be_written_in_another_way(
    clips: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    once(out, groups_in(clips))
    monkeypatch.chdir(clips)
    for where in (".", "../clips/*.mp4", f"{clips}/./"):
        assert once(out, groups_in(where))[1] == []


def test_another_question_id_or_content_runs_anew(clips: Path, out: Path) -> None:
    once(out, groups_in(clips))
    assert len(once(out, groups_in(clips, "Who?"))[1]) == 4
    with_ids = [[replace(ask, id="7") for ask in group] for group in groups_in(clips)]
    assert len(once(out, with_ids)[1]) == 4
    (clips / "b.mp4").write_bytes(b"another film")
    assert once(out, groups_in(clips))[1] == [("b.mp4", "What?")]


def test_progress_is_told_before_the_first_answer_and_behind_each(clips: Path, out: Path) -> None:
    listener, answered = Listener(), list[int]()
    listener.progress = lambda counts: answered.append(counts.added)  # type: ignore[method-assign]
    once(out, groups_in(clips), listener=listener)
    assert answered == [0, 1, 2, 3, 4, 4]


def test_the_answer_of_the_bundled_model_about_other_films_has_a_warning() -> None:
    answer = pretended_answer("What?")
    answers = [replace(answer, answer=text) for text in ("It moves.", UNKNOWN)]
    # Of yes and no: where it would begin with that sentence.
    answers += [
        replace(answer, scoring=Scoring((), (), (), False, False, 0.0, word))
        for word in ("Yes", "I")
    ]
    told = [bool(Ask("What?", PLAN.request).named(one).warnings) for one in answers]
    assert told == [False, True, False, True]


def test_a_copy_has_a_line_of_its_own(clips: Path, out: Path) -> None:
    once(out, groups_in(clips))
    (clips / "copy.mp4").write_bytes((clips / "a.mp4").read_bytes())
    assert once(out, groups_in(clips))[1] == [("copy.mp4", "What?")]
    digests = {Path(line["video"]).name: line["digest"] for line in lines(out)}
    assert digests["copy.mp4"] == digests["a.mp4"] != digests["b.mp4"]


def test_a_file_that_comes_later_is_asked_then(clips: Path, out: Path) -> None:
    listed = clips.parent / "list.txt"
    listed.write_text("clips/a.mp4\nclips/later.mp4\n")
    once(out, groups_in(listed))
    assert lines(out)[1]["digest"] is None
    make_clips(clips, "later.mp4")
    assert once(out, groups_in(listed))[1] == [("clips/later.mp4", "What?")]


def test_the_first_failure_ends_it_if_it_shall(clips: Path, out: Path) -> None:
    counts, asked = once(out, groups_in(clips), fail_fast=True)
    assert asked == [("a.mp4", "What?"), ("b.mp4", "What?"), ("bad.mp4", "What?")]
    assert (counts.failed, counts.done) == (1, 3)
    # What comes in the same go is written, too.
    out.unlink()
    counts, _ = once(out, groups_in(clips), engine=Pretended(together=4), fail_fast=True)
    assert counts.done == len(lines(out)) == 4


@pytest.mark.parametrize("together", [1, 2])
def test_an_interrupt_finishes_what_is_under_way(clips: Path, out: Path, together: int) -> None:
    engine = Pretended(together=together)
    with pytest.raises(KeyboardInterrupt):
        once(out, groups_in(clips), engine=engine, listener=Heard(interrupt_at=1))
    assert len(lines(out)) == len(engine.asked) == together
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert len(once(out, groups_in(clips))[1]) == 4 - together


@pytest.mark.parametrize("loading", [False, True])
def test_a_second_interrupt_and_one_while_loading_wait_for_nothing(
    loading: bool, clips: Path, out: Path
) -> None:
    class Stubborn(Pretended):
        """Goes on until it is interrupted once more."""

        def begin_run(self) -> None:
            if loading:
                interrupt_at_last()

        def advance(self) -> None:
            signal.raise_signal(signal.SIGINT)
            assert listener.stopping
            interrupt_at_last()

    def interrupt_at_last() -> None:
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("it waited")

    listener = Heard()
    with pytest.raises(KeyboardInterrupt):
        once(out, groups_in(clips), engine=Stubborn(), listener=listener)


def test_what_keeps_the_engine_from_answering_is_raised(clips: Path, out: Path) -> None:
    class Broken(Pretended):
        """Answers once."""

        def advance(self) -> None:
            if self.asked:
                raise ModelError("it is gone")
            super().advance()

    with pytest.raises(ModelError, match="it is gone"):
        once(out, groups_in(clips), engine=Broken())
    assert len(lines(out)) == 1
