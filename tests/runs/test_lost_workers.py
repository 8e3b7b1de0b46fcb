"""Workers of this machine that die, at every stage: no answer is lost, and the run goes on."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import Mock

import pytest

from dycoke_cli.answer.answer import Answer
from dycoke_cli.ask import Answered, Ask
from dycoke_cli.errors import ModelError, OutOfMemoryError
from dycoke_cli.loop.plan import RunPlan
from dycoke_cli.runs import pool
from dycoke_cli.runs.batch_journal import Outcome
from dycoke_cli.runs.listener import Listener
from dycoke_cli.runs.run import asker_here, outcomes_of
from tests.documents import example
from tests.runs.pretended import Pretended
from tests.runs.pretending import PLAN, cannot_load, groups_named

WORKERS = 2


def die_once(path: Path) -> None:
    """Die as the system kills a process, unless one has died over this file before."""
    try:
        path.touch(exist_ok=False)
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


def serve(connection: Connection, plan: RunPlan, threads: int) -> None:
    """A worker that answers two videos at a time, and dies of those named so."""
    folder = Path(os.environ["DIARY"])
    if plan.workers == WORKERS:
        with (folder / "started").open("a") as started:
            started.write("x")
        if "DIE_LATE" in os.environ and (folder / "started").stat().st_size == WORKERS:
            while not (folder / "all").exists():
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGKILL)
        for number in range(int(os.environ["DIE_LOADING"])):
            die_once(folder / f"loading{number}")
    connection.send(pool.LOADED)
    while isinstance(group := connection.recv(), list):
        for answer in answered(group, plan):
            connection.send(answer)
    if "DIE_ENDING" in os.environ:
        die_once(folder / "ending")
    (folder / "all").touch()  # before the message: this process may be ended once that has come
    connection.send(None)


def answered(group: Sequence[tuple[int, Ask]], plan: RunPlan) -> list[tuple[int, Answered]]:
    path = Path(group[0][1].videos[0].path)
    if path.name.startswith("once"):
        die_once(path)
    found = []
    for number, ask in group:
        if path.name.startswith("deadly") and ask.question == "Where?":
            os.kill(os.getpid(), signal.SIGKILL)
        if path.name.startswith("crashing"):
            os._exit(3)
        alone = "alone" if plan.batch_size == plan.workers == 1 else "together"
        answer = example(Answer, question=ask.question, answer=alone)
        found.append((number, Answered(ask.named(answer))))
    return found


class Warned(Listener):
    def __init__(self) -> None:
        super().__init__()
        self.warnings: list[str] = []

    def warning(self, sentence: str) -> None:
        self.warnings.append(sentence)


Run = Callable[..., tuple[list[Outcome], list[str]]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Answers two questions about each of some videos; outcomes, and what was warned of."""
    monkeypatch.setattr(pool, "_serve", serve)
    monkeypatch.setattr(pool, "_preloaded", lambda: (__name__,))
    monkeypatch.setenv("DIARY", str(tmp_path))

    def run_them(*names: str, die_loading: int = 0) -> tuple[list[Outcome], list[str]]:
        monkeypatch.setenv("DIE_LOADING", str(die_loading))
        listener = Warned()
        plan = replace(PLAN, workers=WORKERS)
        groups = groups_named(tmp_path, *names)
        found = list(outcomes_of(groups, plan, asker_here, listener))
        asked = [(one.line["video"], one.line["question"]) for one in found]
        assert sorted(asked) == sorted((name, text) for name in names for text in QUESTIONS)
        return found, listener.warnings

    return run_them


QUESTIONS = ("What?", "Where?")
CLIPS = [f"clip{number}.mp4" for number in range(8)]
KILLED = "a worker was killed, most likely because memory ran out; the run continues without it"


def test_what_a_killed_worker_had_is_asked_again(run: Run) -> None:
    found, warnings = run(*CLIPS, "once.mp4")
    assert not any(one.failed for one in found)
    assert warnings == [KILLED]
    again = {one.line["video"] for one in found if one.line.get("answer") == "alone"}
    assert "once.mp4" in again
    assert len(again) <= 2  # what was in one batch with it


def test_outcomes_that_a_dead_worker_had_sent_are_received(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Its pipe is written to when it is dead, and what it had sent before isn't read yet.
    def send(worker: pool.Worker, message: object) -> None:
        kills = isinstance(message, list) and message[0][1].videos[0].name == "once.mp4"
        kills = kills and not (tmp_path / "once.mp4").exists()
        send_it(worker, message)
        if kills:
            while worker._process.exit_code() is None:
                time.sleep(0.01)
            raise pool.GoneError(-signal.SIGKILL)

    send_it = pool.Worker.send
    monkeypatch.setattr(pool.Worker, "send", send)
    found, warnings = run(*CLIPS, "once.mp4")
    assert warnings == [KILLED]
    assert {one.line["video"] for one in found if one.line.get("answer") == "alone"} == {"once.mp4"}


def test_a_question_that_kills_twice_fails_and_no_other(run: Run) -> None:
    # None that dies once is beside it: a worker may have both, and then it would die of either.
    found, warnings = run(*CLIPS[:4], "deadly.mp4", *CLIPS[4:])
    (failed,) = [one for one in found if one.failed]
    assert (failed.line["video"], failed.line["question"]) == ("deadly.mp4", "Where?")
    assert failed.line["error"] == {
        "code": "out_of_memory",
        "message": "the worker that had deadly.mp4 was killed twice, most likely because memory "
        "ran out; use fewer frames or a smaller --model",
    }
    assert warnings == [KILLED] * 2


def test_where_all_workers_die_others_take_their_place(run: Run) -> None:
    found, _ = run(*(f"deadly{number}.mp4" for number in range(3)), *CLIPS)
    assert sum(one.failed for one in found) == 3


def test_a_worker_that_ends_by_itself_is_no_other_matter(run: Run) -> None:
    found, warnings = run("crashing.mp4", *CLIPS)
    failures = [one for one in found if one.failed]
    assert [one.line["video"] for one in failures] == ["crashing.mp4"] * 2
    assert (
        "ended the worker that had it twice (exit code 3)" in failures[0].line["error"]["message"]
    )
    assert warnings[0] == "a worker ended with exit code 3; the run continues without it"


def test_one_that_dies_while_it_loads_is_done_without(run: Run, tmp_path: Path) -> None:
    found, warnings = run(*CLIPS, die_loading=1)
    assert not any(one.failed for one in found)
    assert warnings == [KILLED]
    assert (tmp_path / "started").read_text() == "xx"


def test_a_run_begins_once_a_worker_has_loaded(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIE_LOADING", "0")
    workers = pool.WorkerPool(replace(PLAN, workers=WORKERS), print)
    workers.begin_run()
    assert any(one.is_loaded for one in workers._at_work)
    workers.close()


def test_one_that_loads_gets_no_question_yet(tmp_path: Path) -> None:
    workers = pool.WorkerPool(PLAN, print)
    loading, ready = pool.AtWork(Mock()), pool.AtWork(Mock(), is_loaded=True)
    workers._at_work = [loading, ready]
    workers.submit(*groups_named(tmp_path, "clip.mp4")[0])
    workers._hand_out()
    assert len(ready.asks) == len(QUESTIONS)
    assert not loading.asks
    loading.worker.send.assert_not_called()


@pytest.mark.parametrize("when", ["DIE_LATE", "DIE_ENDING"])  # while it loads, or afterwards
def test_one_that_dies_when_others_have_answered_all(
    when: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(when, "1")
    found, warnings = run(*CLIPS)
    assert not any(one.failed for one in found)
    assert {*warnings} <= {KILLED}  # nobody waits for it


def test_none_that_lives_ends_the_run(run: Run, tmp_path: Path) -> None:
    with pytest.raises(OutOfMemoryError, match="use fewer --workers and run it again: it resumes"):
        run(*CLIPS, die_loading=WORKERS)
    assert (tmp_path / "started").read_text() == "xx"


def test_a_run_that_is_to_end_asks_nothing_again(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(self: Warned, sentence: str) -> None:
        self.stopping = True

    monkeypatch.setattr(Warned, "warning", stop)
    with pytest.raises(AssertionError):  # not all of them have a line
        run("deadly.mp4", "deadlier.mp4")


def serve_until_memory_is_short(connection: Connection, plan: RunPlan, threads: int) -> None:
    """The first workers load and die of their question; those in their place while they load."""
    started = Path(os.environ["DIARY"]) / "started"
    with started.open("a") as file:
        file.write("x")
    if started.stat().st_size <= WORKERS:
        connection.send(pool.LOADED)
        connection.recv()
    os.kill(os.getpid(), signal.SIGKILL)


def test_workers_that_die_while_they_load_end_the_run_though_others_had_loaded(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def warn(self: Warned, sentence: str) -> None:
        self.warnings.append(sentence)
        assert len(self.warnings) < 12, "workers are started for ever"

    monkeypatch.setattr(Warned, "warning", warn)
    monkeypatch.setattr(pool, "_serve", serve_until_memory_is_short)
    with pytest.raises(OutOfMemoryError, match="use fewer --workers and run it again: it resumes"):
        run(*CLIPS)
    assert (tmp_path / "started").read_text() == "x" * (WORKERS + 3)


def serve_pretended(connection: Connection, plan: RunPlan, threads: int) -> None:
    """A worker whose engine pretends."""
    sys.modules["dycoke_cli.loop.answer_batch"] = ModuleType("answer_batch")
    pool.engine_of_worker = lambda *_: Pretended(pause_s=0.1)  # type: ignore[assignment,return-value]
    serve_as_ever(connection, plan, threads)


def test_what_fails_in_a_worker_is_told_here(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "_serve", serve_pretended)
    found, warnings = run("bad.mp4", *CLIPS)
    failures = [one.line for one in found if one.failed]
    assert [(line["video"], line["error"]["message"]) for line in failures] == [
        ("bad.mp4", "it can't be read")
    ] * 2
    assert not warnings


def test_a_run_that_is_to_end_ends(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop_when_ready(self: Warned, name: str, value: object) -> None:
        object.__setattr__(self, name, value)
        if name == "ready" and value:
            self.stopping = True

    monkeypatch.setattr(pool, "_serve", serve_pretended)
    monkeypatch.setattr(Warned, "__setattr__", stop_when_ready)
    with pytest.raises(AssertionError):  # not all of them have a line
        run(*CLIPS)


def test_one_that_has_handed_out_all_ends_as_well(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "_serve", serve_pretended)
    listener, plan = Listener(), replace(PLAN, workers=WORKERS)
    groups = groups_named(tmp_path, *(f"{number}.mp4" for number in range(16)))
    found = outcomes_of(groups, plan, asker_here, listener)
    assert len([*islice(found, 16)]) == 16
    listener.stopping = True
    assert len([*found]) < 10


def serve_unloadable(connection: Connection, plan: RunPlan, threads: int) -> None:
    """A worker whose engine is there, and can't load the model."""
    sys.modules["dycoke_cli.loop.answer_batch"] = ModuleType("answer_batch")
    pool.engine_of_worker = cannot_load
    serve_as_ever(connection, plan, threads)


serve_as_ever = pool._serve


def serve_unread(connection: Connection, plan: RunPlan, threads: int) -> None:
    """A worker that can't unpickle what it is sent."""
    connection.recv = lambda: cannot_load(plan, threads)
    serve_pretended(connection, plan, threads)


@pytest.mark.parametrize("serve", [serve_unloadable, serve_unread])
def test_a_worker_that_fails_says_where(serve: Any, run: Run, monkeypatch: Any) -> None:
    monkeypatch.setattr(pool, "_serve", serve)
    with pytest.raises(ModelError, match="hasn't got the model") as error:
        run(*CLIPS)
    assert "in cannot_load" in error.value.__notes__[0]
