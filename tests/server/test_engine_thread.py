"""Which requests the server answers in one batch."""

from __future__ import annotations

import sys
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from dycoke_cli.server.engine_thread import EngineThread
from dycoke_cli.server.session_cache import SessionCache
from dycoke_cli.server.task import Event, Task

from dycoke_cli.answer.answer import Answer
from dycoke_cli.engine.binding import bind
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.engine.structured_output import StructuredOutput
from dycoke_cli.engine.token_options import TokenOptions
from dycoke_cli.engine.typed_options import TypedOptions
from dycoke_cli.errors import OutOfMemoryError
from dycoke_cli.evaluation.method_specs import parse_spec
from dycoke_cli.models.families import FAMILIES, Discovered, defaults_of
from dycoke_cli.models.traits import ModelTraits
from dycoke_cli.server import session_cache
from dycoke_cli.server.chat_request import ChatRequest
from dycoke_cli.server.metrics import Metrics
from dycoke_cli.server.refused import Refused
from dycoke_cli.video.sampling import Sampling
from tests.forms import NEEDS_LIBRARY
from tests.server.pretended import Pretended

FAMILY = FAMILIES["llava_onevision"]
MINI = ModelTraits("llava_onevision", FAMILY, defaults_of(FAMILY, None, 12), 12, tower_depth=4)


def task(method: str = "dycoke", frames: int = 2, **changes: Any) -> Task:
    request = ChatRequest(
        videos=(),
        question="What?",
        history=(),
        sampling=Sampling(),
        method=parse_spec(method).create(),
        generation=GenerationOptions(),
        stream=False,
        include_usage=False,
    )
    clip: Any = SimpleNamespace(frames=np.zeros((frames, 4, 4, 3), np.uint8), timestamps_s=(0.0,))
    request = replace(request, **changes)
    return Task(request, (bind(request.method, MINI),), "key", (clip,), None, lambda event: None)


def test_equal_requests_are_one_batch() -> None:
    assert task().group is not None
    assert task().group == task(question="Where?").group
    assert task().group == task(stream=True).group
    assert task().group == task(generation=GenerationOptions(max_new_tokens=3, seed=5)).group


@pytest.mark.parametrize(
    "other",
    [
        {"frames": 3},
        {"method": "evs"},
        {"generation": GenerationOptions(typed=TypedOptions.yes_no())},
        {"generation": GenerationOptions(typed=TypedOptions(("a", "b")))},
        {"generation": GenerationOptions(tokens=TokenOptions(stop=("x",)))},
        {"generation": GenerationOptions(tokens=TokenOptions(top_logprobs=1))},
    ],
    ids=str,
)
def test_requests_that_differ_are_not(other: dict[str, Any]) -> None:
    method, frames = other.pop("method", "dycoke"), other.pop("frames", 2)
    assert task(method, frames, **other).group != task().group


@NEEDS_LIBRARY
def test_answers_of_two_forms_are_not_one_batch() -> None:
    one, other = (
        GenerationOptions(structured=StructuredOutput("regex", regex)) for regex in ("a", "b")
    )
    assert task(generation=one).group == task(generation=one).group
    assert task(generation=one).group != task(generation=other).group
    assert task(generation=one).group != task().group


@pytest.mark.parametrize(
    "alone",
    [
        {"generation": GenerationOptions(temperature=0.5)},
        {"generation": GenerationOptions(tokens=TokenOptions(repetition_penalty=1.1))},
        {"max_tokens": 64},
        {"method": "fastv"},  # prunes inside the language model, for one sequence
        {"method": "holitom:inner_layer=2"},
    ],
    ids=str,
)
def test_what_is_answered_alone(alone: dict[str, Any]) -> None:
    method = alone.pop("method", "dycoke")
    assert task(method, **alone).group is None
    assert replace(task(), inspect=True).group is None
    assert replace(task(), clips=()).group is None  # its video is cached, or it has none


def test_requests_about_a_found_family_are_answered_one_by_one() -> None:
    """A stock processor makes their prompts, each for itself."""
    metrics = Metrics()
    for discovered, sizes in ((None, [3]), (Discovered(), [1, 1, 1])):
        traits = replace(MINI, family=replace(FAMILY, discovered=discovered))
        load: Any = pytest.fail
        loaded: Any = SimpleNamespace(traits=traits)
        engine = EngineThread(load, loaded, SessionCache(1, metrics), metrics)
        for _ in range(3):
            engine.submit(task())
        batches = [engine._take() for _ in sizes]
        assert [len(batch) for batch in batches if isinstance(batch, list)] == sizes


def engine(sessions: SessionCache | None = None) -> EngineThread:
    """One that isn't started: the test is its thread."""
    metrics = Metrics()
    loaded: Any = SimpleNamespace(traits=MINI)
    return EngineThread(lambda: loaded, loaded, sessions or SessionCache(4, metrics), metrics)


def test_what_waits_is_divided_into_batches_of_equal_requests() -> None:
    thread = engine()
    drawn = GenerationOptions(temperature=0.5)
    waiting = [
        task(), task("evs"), task(), task(generation=drawn), task(frames=3), task(stream=True),
        task(), task("evs"), task(stream=True), task(generation=drawn),
    ]  # fmt: skip
    for each in waiting:
        thread.submit(each)
    batches = []
    while thread._waiting:
        batch = thread._take()
        assert isinstance(batch, list)
        batches.append([waiting.index(each) for each in batch])
    # In the order of their first ones; each that is sampled alone.
    assert batches == [[0, 2, 5, 6, 8], [1, 7], [3], [4], [9]]


def test_a_batch_has_a_limit_and_a_function_has_its_turn() -> None:
    thread = engine()
    tasks = [task() for _ in range(11)]
    calls: list[str] = []
    for each in tasks[:5]:
        thread.submit(each)
    thread.submit(lambda: calls.append("called"))
    for each in tasks[5:]:
        thread.submit(each)
    assert thread.idle_s == 0
    assert thread._take() == tasks[:8]
    work = thread._take()
    assert callable(work)
    thread._do(work)
    assert calls == ["called"]
    assert thread._take() == tasks[8:]


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> Pretended:
    """A model whose answer is the question."""
    pretended = Pretended()
    for name, module in pretended.modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    return pretended


@pytest.fixture
def batches(pretended: Pretended) -> list[list[str]]:
    """The questions of each call of that model."""
    return pretended.batches


def received(
    *tasks: Task, leaving: dict[str, int] | None = None, held: int = 0
) -> dict[str, list[Event | str]]:
    """What the client of each question gets: words, then "the answer" or an error.

    Args:
        tasks: that wait together.
        leaving: questions whose clients leave, and the words that they have got then.
        held: videos that are cached before.
    """
    sessions = SessionCache(4, Metrics())
    for number in range(held):
        sessions.keep(number, SimpleNamespace(loaded=None))  # type: ignore[arg-type]
    thread, got = engine(sessions), {one.request.question: [] for one in tasks}
    for number, one in enumerate(tasks):
        question = one.request.question

        def send(event: Event, one: Task = one, question: str = question) -> None:
            got[question].append("the answer" if isinstance(event, Answer) else event)
            if len(got[question]) == (leaving or {}).get(question):
                one.cancelled.set()

        thread.submit(replace(one, send=send, key=f"video {number}"))
    while thread._waiting:
        thread._do(thread._take())
    return got


def test_streams_and_others_are_one_batch_and_each_gets_its_own(batches: list[list[str]]) -> None:
    tasks = task(question="one two three", stream=True), task(question="four five"), (
        task(question="six", stream=True)
    )  # fmt: skip
    got = received(*tasks)
    assert batches == [["one two three", "four five", "six"]]
    assert got == {
        "one two three": ["one ", "two ", "three ", "the answer"],
        "four five": ["the answer"],
        "six": ["six ", "the answer"],
    }


def test_no_more_are_answered_together_than_fit_into_the_memory(pretended: Pretended) -> None:
    pretended.fitting = 2
    got = received(*(task(question=q, stream=True) for q in ("one two", "three", "four")))
    assert pretended.batches == [["one two", "three"], ["four"]]
    assert got["four"] == ["four ", "the answer"]


def test_a_client_that_leaves_changes_nothing_for_the_others(batches: list[list[str]]) -> None:
    tasks = [task(question=q, stream=True) for q in ("a b c d e", "f g h", "i j")]
    got = received(*tasks, leaving={"a b c d e": 2, "i j": 1})
    assert len(batches) == 1
    assert got == {
        "a b c d e": ["a ", "b "],
        "f g h": ["f ", "g ", "h ", "the answer"],
        "i j": ["i "],
    }


def test_a_batch_whose_clients_have_all_left_ends(batches: list[list[str]]) -> None:
    tasks = [task(question=q, stream=True) for q in ("a b c d e f", "g h i j k")]
    got = received(*tasks, leaving={"a b c d e f": 2, "g h i j k": 3})
    assert len(batches) == 1
    assert got == {"a b c d e f": ["a ", "b "], "g h i j k": ["g ", "h ", "i "]}


def test_an_answer_whose_text_was_sent_is_not_begun_anew(batches: list[list[str]]) -> None:
    """Its client would get the text twice."""
    stream = [task(question=q, stream=True) for q in ("a b c d", "stumbles", "e", "f stumbles")]
    got = received(stream[0], stream[2], task(question="g h i"), stream[3])
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
    assert batches == [["a b c d", "e", "g h i", "f stumbles"], ["g h i"]]
    got = received(stream[1], stream[0])
    assert isinstance(got["stumbles"][0], OutOfMemoryError)
    assert got["a b c d"] == ["a ", "b ", "c ", "d ", "the answer"]
    # Nor is it where cached videos are freed.
    first, *others = received(stream[3], held=1)["f stumbles"]
    assert (first, [type(one) for one in others]) == ("f ", [OutOfMemoryError])


def test_a_session_of_an_unloaded_model_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would keep the old model in memory; its clips are all that is taken over."""
    made: list[Any] = []

    def session(loaded: Any, clip: Any, **options: Any) -> Any:
        made.append((clip, options["others"], options["seconds_video_decode"]))
        return SimpleNamespace(loaded=loaded, clips=(clip, *options["others"]))

    monkeypatch.setattr("dycoke_cli.engine.session.VideoSession", session)
    thread, model, other = engine(), *(SimpleNamespace() for _ in range(2))
    old: Any = SimpleNamespace(loaded=other, clips=("clip", "second"), windowed=None)
    assert thread._session(replace(task(), session=old, seconds_read=0.5), model).loaded is model  # type: ignore[arg-type]
    assert made == [("clip", ["second"], 0.5)]
    current: Any = SimpleNamespace(loaded=model, clips=("clip",))
    assert thread._session(replace(task(), session=current), model) is current  # type: ignore[arg-type]
    # One that another request has made meanwhile is taken, too.
    thread._sessions.keep("key", current)
    assert thread._session(task(), model) is current  # type: ignore[arg-type]
    assert len(made) == 1
    # The frames of one that was read in windows are gone.
    gone: Any = SimpleNamespace(loaded=other, clips=("clip",), windowed=object())
    with pytest.raises(Refused, match="send the request again"):
        thread._session(replace(task(), session=gone, key="gone"), model)  # type: ignore[arg-type]
    assert "videos_reused_total 2" in thread._metrics.text()


def test_sessions_that_were_used_least_recently_go() -> None:
    metrics = Metrics()
    sessions = SessionCache(2, metrics)
    one, two, three = (SimpleNamespace() for _ in range(3))
    keep: Any = sessions.keep
    keep("one", one)
    keep("two", two)
    assert sessions.find("one") is one  # used again, so that the other one goes
    keep("three", three)
    assert sessions.find("two") is None
    assert (sessions.find("one"), sessions.find("three")) == (one, three)
    assert "videos_held 2" in metrics.text()
    keep("one", two)  # again under the same key: nothing goes
    assert (sessions.find("one"), sessions.find("three")) == (two, three)
    assert sessions.clear()
    assert not sessions.clear()
    assert sessions.find("one") is None
    assert "videos_held 0" in metrics.text()


def test_handles_that_were_named_least_recently_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_cache, "_MOST_HANDLES", 2)
    sessions = SessionCache(2, Metrics())
    for handle, digest in (("a", "1"), ("b", "2"), ("a", "3"), ("c", "4")):
        sessions.name(handle, digest)
    assert [sessions.named(handle) for handle in "abc"] == ["3", None, "4"]
