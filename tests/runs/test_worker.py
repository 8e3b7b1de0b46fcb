"""A worker on Ray, without Ray: its actors are called right here."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import ActorDiedError

from dycoke_cli.answer.answer import Answer, ReportedSubtitles
from dycoke_cli.ask import Answered, Failed
from dycoke_cli.errors import VideoError
from dycoke_cli.runs import worker as worker_module
from dycoke_cli.runs.outcome import Outcome
from dycoke_cli.runs.ray.attempts import Attempts
from dycoke_cli.runs.ray.transfer import Sender
from dycoke_cli.runs.worker import RayWorker, Slice, WorkerReply, WorkerSettings
from dycoke_cli.video import SubtitleSource
from tests.documents import example
from tests.runs.pretending import PLAN, cannot_load, groups_named, pretend


class Actor:
    """Answers `actor.method.remote(…)` at once."""

    def __init__(self, it: Any) -> None:
        self._it = it

    def __getattr__(self, name: str) -> Any:
        return SimpleNamespace(remote=getattr(self._it, name))


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module.ray, "get", lambda given: given)
    monkeypatch.setattr("tests.runs.pretending.SECONDS", 0)


def sent(worker: RayWorker, groups: dict[int, Any], folder: Path) -> WorkerReply:
    row = {"slice": pickle.dumps(Slice(groups, str(folder)))}
    reply: WorkerReply = pickle.loads(worker(row)["reply"])
    return reply


def refuse(plan: Any, threads: int) -> Callable[[Any], Any]:
    """Fails each video, with the name that the worker has for it."""

    def answer(groups: Any) -> Any:
        return [
            Outcome.of(ask, Failed(VideoError(f"{ask.videos[0].path} is torn")))
            for group in groups
            for ask in group
        ]

    return answer


def test_answers_all_and_says_which(tmp_path: Path) -> None:
    worker = RayWorker(WorkerSettings(PLAN, 3, pretend, Actor(Attempts())))
    groups = dict(zip((4, 7), groups_named(tmp_path, "a.mp4", "b.mp4"), strict=True))
    reply = sent(worker, groups, tmp_path)
    assert reply.videos == (4, 7)
    assert [o.line["video"] for o in reply.outcomes] == ["a.mp4", "a.mp4", "b.mp4", "b.mp4"]
    assert {o.line["threads"] for o in reply.outcomes} == {3}


def test_third_death_is_the_last_attempt(tmp_path: Path) -> None:
    attempts = Attempts()
    worker = RayWorker(WorkerSettings(PLAN, 1, pretend, Actor(attempts)))
    groups = dict(enumerate(groups_named(tmp_path, "a.mp4", "b.mp4")))
    attempts.begin([0, 1])  # a worker died of both, and then
    attempts.begin_alone(1)  # two died of one
    attempts.begin_alone(1)
    reply = sent(worker, groups, tmp_path)
    assert [outcome.failed for outcome in reply.outcomes] == [False, False, True, True]
    assert "ended the worker that had it 3 times" in reply.outcomes[-1].line["error"]["message"]
    assert (tmp_path / "diary").read_text() == "a.mp4\n"


class DiedError(BaseException):
    """The process of a worker is killed."""


def test_workers_that_die_while_they_load_end_the_run_and_blame_no_video(tmp_path: Path) -> None:
    def die(plan: Any, threads: int) -> Any:
        died.append(1)
        raise DiedError

    died: list[int] = []
    attempts, groups = Actor(Attempts(workers=2)), groups_named(tmp_path, "a.mp4", "b.mp4")
    reply = None
    while reply is None:  # Ray restarts a worker with the same videos
        with suppress(DiedError):
            worker = RayWorker(WorkerSettings(PLAN, 1, die, attempts))
            reply = sent(worker, dict(enumerate(groups)), tmp_path)
    assert not reply.outcomes
    assert "each worker ended 3 times while it loaded the model" in str(reply.failure)
    assert len(died) == 6


def test_an_actor_that_is_gone_is_told_as_the_clusters_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(given: Any) -> None:
        raise ActorDiedError

    monkeypatch.setattr(worker_module.ray, "get", gone)
    worker = RayWorker(WorkerSettings(PLAN, 1, pretend, Actor(Attempts())))
    reply = sent(worker, dict(enumerate(groups_named(tmp_path, "a.mp4"))), tmp_path)
    assert str(reply.failure).startswith("the Ray cluster broke down (ActorDiedError: ")
    assert str(reply.failure).endswith("; run it again")


def test_worker_of_another_version_is_refused(tmp_path: Path) -> None:
    task = replace(WorkerSettings(PLAN, 1, pretend, Actor(Attempts())), version="0.0.1")
    reply = sent(RayWorker(task), dict(enumerate(groups_named(tmp_path, "a.mp4"))), tmp_path)
    assert "install one version on all machines" in str(reply.failure)
    assert not reply.outcomes


def test_model_that_cant_be_loaded_is_a_failure_not_an_outcome(tmp_path: Path) -> None:
    worker = RayWorker(WorkerSettings(PLAN, 1, cannot_load, Actor(Attempts())))
    reply = sent(worker, dict(enumerate(groups_named(tmp_path, "a.mp4"))), tmp_path)
    assert str(reply.failure) == "this machine hasn't got the model"


@pytest.mark.parametrize("ship", [False, True])
def test_videos_are_called_what_they_were_given_as(ship: bool, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "a.mp4").write_bytes(b"x")
    sender = Actor(Sender([str(tmp_path / "here" / "a.mp4")])) if ship else None
    worker = RayWorker(WorkerSettings(PLAN, 1, refuse, Actor(Attempts()), sender))
    # A path that means something in the folder of the run alone.
    (group,) = groups_named(Path("here"), "a.mp4")
    reply = sent(worker, {0: group}, tmp_path)
    assert reply.outcomes[0].line["error"]["message"] == os.path.join("here", "a.mp4") + " is torn"


def spell(plan: Any, threads: int) -> Callable[[Any], Any]:
    """Answers with what the subtitles' file holds, under the name that the worker has for it."""

    def answer(groups: Any) -> Any:
        outcomes = []
        for group in groups:
            for ask in group:
                path = ask.videos[0].subtitles.path
                answer = example(
                    Answer,
                    answer=Path(path).read_text(),
                    subtitles=ReportedSubtitles(path, 1),
                    warnings=(f"{path} ends",),
                )
                outcomes.append(Outcome.of(ask, Answered(ask.named(answer))))
        return outcomes

    return answer


@pytest.mark.parametrize("ship", [False, True])
def test_subtitles_go_with_their_video(ship: bool, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"x")
    (tmp_path / "a.srt").write_text("what was said")
    sender = Actor(Sender([str(tmp_path / "a.mp4"), str(tmp_path / "a.srt")])) if ship else None
    worker = RayWorker(WorkerSettings(PLAN, 1, spell, Actor(Attempts()), sender))
    (group,) = groups_named(Path("."), "a.mp4")
    video = replace(group[0].videos[0], subtitles=SubtitleSource("a.srt"))
    group = [replace(ask, videos=(video,)) for ask in group]
    line = sent(worker, {0: group}, tmp_path).outcomes[0].line
    assert line["answer"] == "what was said"
    assert line["subtitles"]["source"] == "a.srt"
    assert line["warnings"] == ["a.srt ends"]


def test_video_that_cant_be_sent_fails_alone(tmp_path: Path) -> None:
    (tmp_path / "b.mp4").write_bytes(b"x")
    sender = Actor(Sender([str(tmp_path / name) for name in ("a.mp4", "b.mp4")]))
    worker = RayWorker(WorkerSettings(PLAN, 1, refuse, Actor(Attempts()), sender))
    groups = dict(enumerate(groups_named(Path("."), "a.mp4", "b.mp4")))
    said = [o.line["error"]["message"] for o in sent(worker, groups, tmp_path).outcomes]
    assert said[0] == "a.mp4 doesn't exist: check the spelling and the folder"
    assert said[2] == "b.mp4 is torn"
