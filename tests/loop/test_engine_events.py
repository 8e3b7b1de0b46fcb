"""What whoever asks the engine receives, and what it keeps, frees and loads again."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import pytest

from dycoke_cli.ask import Answered, Done, Failed, Progress, Seen, Text, Warn
from dycoke_cli.compression.registry import create
from dycoke_cli.errors import OutOfMemoryError, VideoError
from dycoke_cli.loop import local_engine, reading
from dycoke_cli.loop.asker import CancelledError, Client, Pending
from dycoke_cli.loop.local_engine import Engine
from dycoke_cli.server.metrics import Metrics
from dycoke_cli.video.clip import WindowQueue
from dycoke_cli.video.limits import Limits
from tests.loop.asking import REQUEST, Asking
from tests.waiting import until


def received(
    asking: Asking,
    *questions: str,
    silent: tuple[str, ...] = (),
    leaving: dict[str, int] | None = None,
    held: int = 0,
) -> dict[str, list[Any]]:
    """What the client of each question gets: words, then "the answer" or an error."""
    got: dict[str, list[Any]] = {question: [] for question in questions}

    def take(pending: Pending, event: Any) -> None:
        question = pending.ask.question
        if isinstance(event, Text):
            got[question].append(event.text)
        elif isinstance(event, Answered):
            got[question].append("the answer")
        elif isinstance(event, Failed):
            got[question].append(event.error)
        if len(got[question]) == (leaving or {}).get(question):
            pending.cancel()

    with asking.engine() as engine:
        for _ in range(held):
            asking.finish(engine, engine.submit(asking.ask("before")))
        asking.pretended.batches.clear()
        pendings = [
            pending
            for question in questions
            for pending in engine.submit(
                asking.ask(question), on_event=take, streams=question not in silent
            )
        ]
        asking.finish(engine, pendings)
    return got


def test_streams_and_others_are_one_batch_and_each_gets_its_own(asking: Asking) -> None:
    got = received(asking, "one two three", "four five", "six", silent=("four five",))
    assert asking.pretended.batches == [["one two three", "four five", "six"]]
    assert got == {
        "one two three": ["one ", "two ", "three ", "the answer"],
        "four five": ["the answer"],
        "six": ["six ", "the answer"],
    }


def test_a_client_that_leaves_changes_nothing_for_the_others(asking: Asking) -> None:
    got = received(asking, "a b c d e", "f g h", "i j", leaving={"a b c d e": 2, "i j": 1})
    assert len(asking.pretended.batches) == 1
    assert got == {
        "a b c d e": ["a ", "b "],
        "f g h": ["f ", "g ", "h ", "the answer"],
        "i j": ["i "],
    }


def test_a_batch_whose_clients_have_all_left_ends(asking: Asking) -> None:
    got = received(asking, "a b c d e f", "g h i j k", leaving={"a b c d e f": 2, "g h i j k": 3})
    assert len(asking.pretended.batches) == 1
    assert got == {"a b c d e f": ["a ", "b "], "g h i j k": ["g ", "h ", "i "]}


def test_an_answer_whose_text_was_sent_is_not_begun_anew(asking: Asking) -> None:
    """Its client would get the text twice."""
    got = received(asking, "a b c d", "e", "g h i", "f stumbles", silent=("g h i",))
    error = got["a b c d"].pop()
    assert isinstance(error, OutOfMemoryError)
    assert got["f stumbles"].pop() is error
    assert got == {
        "a b c d": ["a ", "b "],
        "e": ["e ", "the answer"],
        "g h i": ["the answer"],
        "f stumbles": ["f "],
    }
    # The one without text is answered alone; one that has ended isn't answered again.
    assert asking.pretended.batches == [["a b c d", "e", "g h i", "f stumbles"], ["g h i"]]


def test_one_that_fails_costs_no_other_its_answer(asking: Asking) -> None:
    got = received(asking, "stumbles", "a b c d", "e f", "g")
    assert isinstance(got.pop("stumbles")[0], OutOfMemoryError)
    assert got == {
        "a b c d": ["a ", "b ", "c ", "d ", "the answer"],
        "e f": ["e ", "f ", "the answer"],
        "g": ["g ", "the answer"],
    }


def test_a_batch_that_is_too_large_is_halved_and_later_ones_are_smaller(asking: Asking) -> None:
    asking.pretended.most = 3
    questions = [f"q{n}" for n in range(16)]
    got = received(asking, *questions)
    assert {tuple(events) for events in got.values()} == {
        (f"q{n} ", "the answer") for n in range(16)
    }
    sizes = [len(batch) for batch in asking.pretended.batches]
    assert sizes[0] == 8
    assert max(sizes[sizes.index(2) :]) <= 4


def test_where_two_are_too_many_later_ones_are_asked_alone(asking: Asking) -> None:
    asking.pretended.most = 1
    received(asking, *(f"q{n}" for n in range(16)))
    assert [len(batch) for batch in asking.pretended.batches][-8:] == [1] * 8


def test_memory_of_videos_that_nobody_asks_about_is_used_first(asking: Asking) -> None:
    asking.pretended.fail_at = 1
    assert received(asking, "a b", held=1)["a b"] == ["a ", "b ", "the answer"]
    assert asking.pretended.batches == [["a b"], ["a b"]]


def test_text_that_was_sent_is_not_sent_again_once_memory_was_freed(asking: Asking) -> None:
    first, *others = received(asking, "f stumbles", held=1)["f stumbles"]
    assert (first, [type(one) for one in others]) == ("f ", [OutOfMemoryError])


def test_the_events_of_a_question(asking: Asking) -> None:
    with asking.engine() as engine:
        [pending] = engine.submit(asking.ask("one two"))
        events = [*pending.events()]
    seen = next(event for event in events if isinstance(event, Seen))
    assert (len(seen.times_s[0]), seen.infos[0].fps) == (2, 25.0)
    # Two frames are encoded, and the prompt is read.
    told = [*[Progress] * 3, *[Progress, Text] * 2, Answered]
    assert [type(event) for event in events[events.index(seen) + 1 :]] == told
    assert isinstance(events[-1], Answered)
    assert events[-1].answer.answer == "one two "


def test_a_comparison_is_a_stage_of_its_own(asking: Asking) -> None:
    with asking.engine() as engine:
        [pending] = engine.submit(asking.ask("one", compare=True))
        assert Progress("comparison") in [*pending.events()]


def test_a_video_that_cannot_be_read_fails_its_questions_alone(asking: Asking) -> None:
    with asking.engine() as engine:
        bad = engine.submit(asking.ask("one", name="bad.mp4"), asking.ask("two", name="bad.mp4"))
        [good] = engine.submit(asking.ask("three"))
        for pending in bad:
            with pytest.raises(VideoError, match="can't be read"):
                [*pending.events()]
        assert isinstance([*good.events()][-1], Answered)


def test_work_on_a_video_ends_with_what_it_makes(asking: Asking) -> None:
    with asking.engine() as engine:
        [pending] = engine.submit(asking.ask("?"), work=lambda session, send: len(session.clips))
        assert [*pending.events()][-1] == Done(1)


def test_who_leaves_gets_no_answer_to_what_waits(asking: Asking) -> None:
    client = Client()
    with asking.engine() as engine:
        pendings = engine.submit(asking.ask("one"), asking.ask("two"), client=client)
        engine.leave(client)
        for pending in pendings:
            with pytest.raises(CancelledError):
                [*pending.events()]
    assert not asking.pretended.batches


def test_a_question_that_is_cancelled_while_its_video_is_read_ends_the_reading(
    asking: Asking,
) -> None:
    asking.pretended.shutter.clear()
    with asking.engine() as engine:
        [pending] = engine.submit(asking.ask("one"))
        pending.cancel()
        assert pending.video is not None
        pending.video.reading.wait_end()  # without the shutter
    assert not asking.pretended.read


def test_a_question_without_a_video_that_is_cancelled_ends_at_the_next_token(
    asking: Asking,
) -> None:
    """Else its client's leaving would keep all others waiting until the last token."""
    texts: list[str] = []

    def take(pending: Pending, event: Any) -> None:
        if isinstance(event, Text):
            texts.append(event.text)
            pending.cancel()

    with asking.engine() as engine:
        pendings = engine.submit(asking.ask("one two three", videos=0), on_event=take, streams=True)
        asking.finish(engine, pendings)
    assert texts == ["one "]
    assert asking.pretended.words == ["one"]


def answered(asking: Asking, engine: Engine, *names: str) -> None:
    """Ask about each video, one after the other."""
    for name in names:
        [pending] = engine.submit(asking.ask("What?", name=name))
        pending.wait()


def test_a_video_is_read_once_for_questions_behind_each_other(asking: Asking) -> None:
    with asking.engine() as engine:
        answered(asking, engine, "a", "a")
        assert engine.holds(asking.ask("Why?", name="a"))
        assert not engine.holds(asking.ask("Why?", name="a", frames=5))
    assert len(asking.pretended.read) == 1


def test_videos_that_were_asked_about_least_recently_go(asking: Asking) -> None:
    with asking.engine(keep=2) as engine:
        answered(asking, engine, "a", "b", "a", "c")
        held = [name for name in "abc" if engine.holds(asking.ask("Why?", name=name))]
        assert held == ["a", "c"]
        assert engine.free()
        assert not engine.free()
        assert not any(engine.holds(asking.ask("Why?", name=name)) for name in "abc")


def test_nothing_is_kept_where_nothing_is_to_be(asking: Asking) -> None:
    with Engine(REQUEST, loaded=asking.pretended.load()) as engine:
        answered(asking, engine, "a", "a")
        assert not engine.holds(asking.ask("Why?", name="a"))
    assert len(asking.pretended.read) == 2


def test_videos_of_a_run_and_of_a_client_that_drops_them_are_not_kept(asking: Asking) -> None:
    """They would take the place of those that are asked about again."""
    run, other = Client(bulk=True), Client()
    run.is_over = True
    with asking.engine() as engine:
        for name, client in (("a", run), ("b", other), ("c", Client())):
            [pending] = engine.submit(asking.ask("What?", name=name), client=client)
            pending.wait()
        assert [engine.holds(asking.ask("Why?", name=name)) for name in "abc"] == [0, 1, 1]
        engine.drop(other)
        assert [engine.holds(asking.ask("Why?", name=name)) for name in "abc"] == [0, 0, 1]
        # What others ask about again is kept for them.
        pendings = [
            pending
            for client in (run, other)
            for pending in engine.submit(asking.ask("Why?", name="d"), client=client)
        ]
        asking.finish(engine, pendings)
        assert engine.holds(asking.ask("Why?", name="d"))


def test_a_video_stays_while_a_question_about_it_waits(asking: Asking) -> None:
    with asking.engine(keep=0) as engine:
        asks = [asking.ask(f"{n}", name="a", method=m) for n, m in enumerate(("evs", "dycoke"))]
        pendings = engine.submit(*asks)
        for pending in pendings:
            pending.wait()
    assert len(asking.pretended.read) == 1


def test_an_idle_model_is_unloaded_and_loaded_again(asking: Asking) -> None:
    with asking.engine() as engine:
        engine.start()
        answered(asking, engine, "a")
        loaded = engine.loaded
        engine.unload()
        until(lambda: engine.loaded is None)
        assert not engine.holds(asking.ask("Why?", name="a"))
        answered(asking, engine, "a")
        assert engine.loaded is not loaded
    assert asking.pretended.loads == 2
    assert len(asking.pretended.read) == 2


@pytest.mark.parametrize("answered_before", [True, False])
def test_a_video_whose_place_another_takes_is_freed(asking: Asking, answered_before: bool) -> None:
    """The other one has decoders of its own, as a window of a stream."""
    with asking.engine() as engine:
        [first] = engine.submit(asking.ask("One?", name="a"))
        if answered_before:
            first.wait()
        [second] = engine.submit(asking.ask("Two?", name="a"), decoders=[reading.Decoder(Limits())])
        if answered_before:  # before the second is read
            assert first.ask not in [one.ask for one in engine._readers._held]
        asking.finish(engine, [first, second])
        assert [one.ask for one in engine._readers._held] == [second.ask]
        assert engine.free()
        assert not engine._readers._held
    assert len(asking.pretended.read) == 2


def test_a_run_that_is_left_asks_nothing_more(asking: Asking) -> None:
    with asking.engine() as engine:
        run = engine.answers([asking.ask(f"{number}")] for number in itertools.count())
        next(run)
        run.close()
        assert not engine._waiting


def test_a_run_draws_its_questions_as_there_is_room(
    asking: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Engine, "ahead_videos", 2)
    monkeypatch.setattr(local_engine, "BATCH_WAIT_S", 0.0)
    drawn = (asking.ask(f"{number}") for number in range(6))
    with asking.engine() as engine:
        assert len([*engine.answers([ask] for ask in drawn)]) == 6
    assert len(asking.pretended.batches) > 1


def test_an_engine_that_is_left_reads_and_answers_nothing_more(asking: Asking) -> None:
    asking.pretended.shutter.clear()
    with asking.engine() as engine:
        engine.start()
        engine.submit(asking.ask("One?"))
        asking.pretended.began.wait()
    until(lambda: not asking.pretended.reading)
    assert engine._thread is not None
    assert not engine._thread.is_alive()


def test_each_video_that_is_read_again_is_freed(asking: Asking) -> None:
    """Two questions of one method about a video whose windows another method took."""
    with asking.engine() as engine:
        pendings = engine.submit(asking.ask("One?", name="a"), asking.ask("Two?", name="a"))
        asking.wait_until_read(pendings)
        for pending in pendings:
            engine._waiting.remove(pending)  # it is answered
            engine.read_again(pending)
        asking.finish(engine, pendings)
        engine.free()
        assert not engine._readers._held
        assert not engine._videos
    assert len(asking.pretended.read) == 3


def test_a_video_in_windows_may_be_opened_again_and_one_that_is_read_is_not(asking: Asking) -> None:
    with asking.engine() as engine:
        [pending] = engine.submit(asking.ask("One?"))
        asking.wait_until_read([pending])
        reading = pending.video.reading
        for is_read, windows, expected in (
            (False, None, False), (True, None, True), (True, WindowQueue(1), False),
        ):  # fmt: skip
            reading.is_read, reading.windows = is_read, windows
            assert pending.is_read is expected


def test_a_video_whose_windows_another_method_took_is_read_again(asking: Asking) -> None:
    with asking.engine() as engine:
        [pending] = engine.submit(asking.ask("One?", method="evs"))
        asking.wait_until_read([pending])
        video: Any = pending.video
        video.reading.windows = WindowQueue(1)
        for method, again in (("evs", False), (None, False), ("dart", True)):
            settled = method and engine.settled(create(method), in_windows=True)
            windowed = method and SimpleNamespace(method=settled)
            video.session = SimpleNamespace(windowed=windowed)
            assert engine._is_encoded_for(pending) is not again
        assert pending.video is not video


@pytest.mark.parametrize(("bulk", "warned"), [(False, [True, False]), (True, [False, False])])
def test_little_memory_is_warned_of_before_the_first_answer_to_somebody(
    asking: Asking, bulk: bool, warned: list[bool]
) -> None:
    asking.pretended.warning = "there is little memory"
    client = Client(bulk=bulk)
    client.is_over = bulk
    with asking.engine() as engine:
        asked = (engine.submit(asking.ask(text), client=client)[0] for text in ("one", "two"))
        assert [Warn("there is little memory") in [*one.events()] for one in asked] == warned


def test_of_a_run_a_few_videos_are_prepared_ahead(asking: Asking) -> None:
    run = Client(bulk=True, batch_size=1)
    with asking.engine() as engine:
        pendings = engine.submit(*(asking.ask(f"{n}") for n in range(8)), client=run)
        asking.wait_until_read(pendings)
        for _ in range(2):
            engine._prepare_videos()
            assert [one.is_prepared for one in pendings] == [True] * 4 + [False] * 4


def test_a_batch_and_the_seconds_and_tokens_of_its_questions_are_counted(asking: Asking) -> None:
    metrics = Metrics()
    with asking.engine(counts=metrics) as engine:
        pendings = engine.submit(asking.ask("one"), asking.ask("two"))
        asking.finish(engine, pendings)
    counts = {"batches_total": 1, "wait_seconds_count": 2, "answer_seconds_count": 2}
    for one in (pending.wait().answer.tokens for pending in pendings):
        of_one = {"tokens_generated": one.generated, "visual_tokens": one.visual}
        for name, number in {**of_one, "visual_tokens_kept": one.visual_kept}.items():
            counts[f"{name}_total"] = counts.get(f"{name}_total", 0) + number
    assert {f"dycoke_{name} {number}" for name, number in counts.items()} <= {
        *metrics.text().splitlines()
    }


def test_a_question_that_comes_just_then_keeps_the_model(asking: Asking) -> None:
    with asking.engine() as engine:
        loaded = engine.call(lambda loaded: loaded)
        engine.unload()
        answered(asking, engine, "a")
        assert engine.loaded is loaded


def test_a_model_that_cannot_be_loaded_fails_its_questions_and_is_tried_again(
    asking: Asking,
) -> None:
    """Also where the next question comes before the next attempt: its frames wait for that."""
    fails = [True]

    def load(fit: Any) -> Any:
        if fails:
            fails.pop()
            raise OutOfMemoryError("there is no room")
        return asking.pretended.load()

    with asking.engine(load=load, loaded=None) as engine:
        engine.start()
        [pending] = engine.submit(asking.ask("What?"))
        with pytest.raises(OutOfMemoryError, match="no room"):
            [*pending.events()]
        answered(asking, engine, "a")
        assert engine.loaded is not None


def test_it_is_idle_once_nobody_asks(asking: Asking) -> None:
    with asking.engine() as engine:
        engine.start()
        asking.pretended.gate.clear()
        [pending] = engine.submit(asking.ask("What?"))
        assert engine.idle_s == 0
        asking.pretended.gate.set()
        pending.wait()
        with engine.occupied():
            assert engine.idle_s == 0
        until(lambda: 0 < engine.idle_s < 600)


def test_a_fault_of_the_engine_fails_who_waits_and_not_who_comes_later(
    asking: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else they would wait for ever."""
    with asking.engine() as engine:
        take, faults = engine._take, [KeyError("a fault")]

        def failing() -> Any:
            if faults:
                raise faults.pop()
            return take()

        monkeypatch.setattr(engine, "_take", failing)
        engine.start()
        [pending] = engine.submit(asking.ask("What?"))
        with pytest.raises(KeyError):
            [*pending.events()]
        answered(asking, engine, "a")


def test_a_question_that_comes_between_preparing_and_taking_has_its_method(
    asking: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is its client's turn, and its video is held: only its method wasn't settled."""
    client = Client()
    with asking.engine() as engine:
        asking.finish(engine, engine.submit(asking.ask("first", name="held"), client=client))
        take, late = engine._take, list[Pending]()

        def taking() -> Any:
            if not late:
                late.extend(engine.submit(asking.ask("late", name="held"), client=client))
            return take()

        monkeypatch.setattr(engine, "_take", taking)
        asking.finish(engine, engine.submit(asking.ask("next")))
        asking.finish(engine, late)
        assert sorted(asking.pretended.batches) == [["first"], ["late"], ["next"]]
