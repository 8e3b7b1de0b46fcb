"""A worker on Ray, and who hands questions to workers, without Ray: calls are made right here."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import ActorDiedError

from dycoke_cli.answer.answer import Answer, ReportedSubtitles
from dycoke_cli.ask import Answered, Ask, Failed
from dycoke_cli.errors import OutOfMemoryError, VideoError
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.runs.ray import driver
from dycoke_cli.runs.ray.cluster import OnRay, Workers
from dycoke_cli.runs.ray.driver import Driver, Job, RayWorker
from dycoke_cli.runs.ray.transfer import Sender
from dycoke_cli.version import __version__
from dycoke_cli.video import SubtitleSource
from tests.documents import example
from tests.runs.pretended import Last
from tests.runs.pretending import PLAN, Pretending, cannot_load, groups_named


class Actor:
    """Answers `actor.method.remote(…)` at once; an error is raised by `ray.get`."""

    def __init__(self, it: Any) -> None:
        self.it = it

    def __getattr__(self, name: str) -> Any:
        return SimpleNamespace(remote=getattr(self.it, name))


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray.get", lambda given: given)
    monkeypatch.setattr("tests.runs.pretending.SECONDS", 0)


def worker_of(make: Any, sender: Any = None, version: str = __version__, threads: int = 1) -> Any:
    return RayWorker(OnRay(make=make), PLAN, threads, sender, version)


def answers(worker: RayWorker, groups: Sequence[Sequence[Ask]], folder: Path) -> list[Last]:
    """The last events, in the order of the questions."""
    assert worker.load() == ()
    asks = [ask for group in groups for ask in group]
    numbers = {ask.key: number for number, ask in enumerate(asks)}
    found = worker.answer([[(numbers[a.key], a) for a in group] for group in groups], str(folder))
    assert isinstance(found, list), found
    return [event for _, event in sorted(found, key=lambda one: one[0])]


def said(event: Last) -> str:
    return str(event.error) if isinstance(event, Failed) else event.answer.answer


class Refusing(Pretending):
    """Fails each video, with the name that the worker has for it."""

    def _event(self, ask: Ask) -> Last:
        return Failed(VideoError(f"{ask.videos[0].path} is torn"))


def test_answers_all_with_its_threads(tmp_path: Path) -> None:
    groups = groups_named(tmp_path, "a.mp4", "b.mp4")
    found = answers(worker_of(Pretending, threads=3), groups, tmp_path)
    assert [said(event).split()[1] for event in found] == ["3"] * 4


def test_an_actor_that_is_gone_is_told_as_the_clusters_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(given: Any) -> None:
        raise ActorDiedError

    monkeypatch.setattr("ray.get", gone)
    worker = worker_of(Pretending, Actor(Sender()))
    worker.load()
    failure = worker.answer([[(0, groups_named(tmp_path, "a.mp4")[0][0])]], str(tmp_path))
    assert str(failure).startswith("the Ray cluster broke down (ActorDiedError: ")
    assert str(failure).endswith("; run it again")


def test_what_keeps_a_worker_from_loading_is_an_error() -> None:
    assert "install one version on all machines" in str(worker_of(Pretending, version="0.1").load())
    assert str(worker_of(cannot_load).load()) == "this machine hasn't got the model"


@pytest.mark.parametrize("ship", [False, True])
def test_videos_are_called_what_they_were_given_as(ship: bool, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "a.mp4").write_bytes(b"x")
    # A path that means something in the folder of the run alone.
    groups = groups_named(Path("here"), "a.mp4")
    event = answers(worker_of(Refusing, sender_of(tmp_path, groups, ship)), groups, tmp_path)[0]
    assert said(event) == os.path.join("here", "a.mp4") + " is torn"


def sender_of(folder: Path, groups: Sequence[Sequence[Ask]], ship: bool = True) -> Any:
    sender = Sender()
    sender.add([str(folder / path) for group in groups for path in Job([(0, group[0])]).files])
    return Actor(sender) if ship else None


class Spelling(Pretending):
    """Answers with what the subtitles' file holds, under the name that the worker has for it."""

    def _event(self, ask: Ask) -> Last:
        subtitles = ask.videos[0].subtitles
        assert subtitles is not None
        assert subtitles.path is not None
        answer = example(
            Answer,
            answer=Path(subtitles.path).read_text(),
            subtitles=ReportedSubtitles(subtitles.path, 1),
            warnings=(f"{subtitles.path} ends",),
        )
        return Answered(ask.named(answer))


@pytest.mark.parametrize("ship", [False, True])
def test_subtitles_go_with_their_video(ship: bool, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"x")
    (tmp_path / "a.srt").write_text("what was said")
    (group,) = groups_named(Path("."), "a.mp4")
    video = replace(group[0].videos[0], subtitles=SubtitleSource("a.srt"))
    group = [replace(ask, videos=(video,)) for ask in group]
    event = answers(worker_of(Spelling, sender_of(tmp_path, [group], ship)), [group], tmp_path)[0]
    assert isinstance(event, Answered)
    assert event.answer.answer == "what was said"
    assert event.answer.subtitles == ReportedSubtitles("a.srt", 1)
    assert event.answer.warnings == ("a.srt ends",)


def test_video_that_cant_be_sent_fails_alone(tmp_path: Path) -> None:
    (tmp_path / "b.mp4").write_bytes(b"x")
    groups = groups_named(Path("."), "a.mp4", "b.mp4")
    found = answers(worker_of(Refusing, sender_of(tmp_path, groups)), groups, tmp_path)
    assert said(found[0]) == "a.mp4 doesn't exist: check the spelling and the folder"
    assert said(found[2]) == "b.mp4 is torn"


class Cluster:
    """Of two workers: what each call gives, or dies of."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, deadly: str = "", *, loads: bool = True):
        self.given: list[list[str]] = []  # names of the videos of each call
        self.loads, self._deadly, self._loads = 0, deadly, loads
        kind = SimpleNamespace(remote=lambda *_: Actor(self))
        monkeypatch.setattr("ray.remote", lambda it: SimpleNamespace(options=lambda **_: kind))
        monkeypatch.setattr("ray.wait", lambda calls, timeout: (calls, []))
        monkeypatch.setattr("ray.get", lambda call: call())
        monkeypatch.setattr("ray.kill", lambda actor: None)
        monkeypatch.setattr(driver, "fit_workers", lambda *_: Workers(2, 1, 0))

    def load(self) -> Any:
        self.loads += 1
        return (lambda: ()) if self._loads else (lambda: self._die())

    def answer(self, groups: Any, folder: str) -> Any:
        names = [group[0][1].videos[0].name for group in groups]
        self.given.append(names)
        found = [(number, Failed(VideoError("so"))) for group in groups for number, _ in group]
        return lambda: self._die() if self._deadly in names else found

    def _die(self) -> None:
        raise ActorDiedError


class Pipe:
    """The run's end: gives messages, and keeps what is sent."""

    def __init__(self, *messages: Any) -> None:
        self.messages, self.sent = [*messages], list[Any]()
        self.send = self.sent.append

    def poll(self, timeout_s: float) -> bool:
        return bool(self.messages)

    def recv(self) -> Any:
        return self.messages.pop(0)


def numbered(folder: Path, count: int) -> tuple[list[tuple[int, Ask]], list[str]]:
    names = [f"clip{number}.mp4" for number in range(count)]
    asks = [ask for group in groups_named(folder, *names) for ask in group]
    return [*enumerate(asks)], names


def test_a_video_that_ends_its_workers_fails_alone_at_the_third(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asks, names = numbered(tmp_path, 40)
    cluster, pipe = Cluster(monkeypatch, "clip3.mp4"), Pipe(asks, None)
    Driver(pipe, OnRay(), PLAN).run()
    answers = [one for one in pipe.sent if isinstance(one, tuple)]
    assert sorted(number for number, _ in answers) == [*range(80)]
    failed = {number for number, event in answers if "ended the worker" in said(event)}
    assert failed == {6, 7}
    assert "clip3.mp4 ended the worker that had it 3 times" in said(dict(answers)[6])
    together = [one for one in cluster.given if len(one) > 1]
    assert together
    beside = next(one for one in together if "clip3.mp4" in one)
    # What was together with it is asked alone, once, and all others once.
    times = Counter(chain.from_iterable(cluster.given))
    assert times["clip3.mp4"] == 3
    assert all(cluster.given.count([name]) == 1 for name in beside if name != "clip3.mp4")
    assert {times[name] for name in {*names} - {*beside}} == {1}


def test_what_is_sent_may_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asks, names = numbered(tmp_path, 4)
    sender, cluster = Sender(), Cluster(monkeypatch)
    monkeypatch.setattr(driver, "_sender", lambda: Actor(sender))
    monkeypatch.setattr("ray.get", lambda call: call() if callable(call) else call)
    Driver(Pipe(asks, None), OnRay(ship=True), PLAN).run()
    assert sender._paths == {str(tmp_path / name) for name in names}
    assert cluster.given


def test_a_run_that_is_to_end_begins_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asks, _ = numbered(tmp_path, 4)
    cluster, pipe = Cluster(monkeypatch), Pipe(asks, driver.STOP)
    Driver(pipe, OnRay(), PLAN).run()
    assert (cluster.given, pipe.sent) == ([], [])


def test_workers_that_die_while_they_load_end_the_run_and_blame_no_video(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asks, _ = numbered(tmp_path, 4)
    cluster, pipe = Cluster(monkeypatch, loads=False), Pipe(asks, None)
    with pytest.raises(OutOfMemoryError, match="each worker ended 3 times while it loaded"):
        Driver(pipe, OnRay(), PLAN).run()
    assert cluster.loads == 6
    assert not pipe.sent


def test_what_workers_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my-model").mkdir()
    request = replace(PLAN.request, model="my-model", loading=LoadOptions())
    told = [driver.request_of_workers(request, Workers(2, 1, gpus)) for gpus in (0, 1)]
    assert told[0].model == str(tmp_path / "my-model")
    assert [one.loading.device for one in told] == ["cpu", "auto"]
    assert (
        driver.request_of_workers(replace(request, model="mini"), Workers(2, 1, 1)).model == "mini"
    )
    chosen = replace(request, loading=LoadOptions(device="cuda"))
    assert driver.request_of_workers(chosen, Workers(2, 1, 0)).loading.device == "cuda"
