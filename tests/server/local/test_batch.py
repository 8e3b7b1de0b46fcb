"""A running server answers `dycoke batch`: lines, results file and codes are the command's own."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from dycoke_cli.runs.jobs import Job, JobQuestion, Video
from dycoke_cli.runs.read_ahead import DecodedJob
from dycoke_cli.server.engine_thread import EngineThread
from dycoke_cli.server.session_cache import SessionCache

from dycoke_cli.answer.json_schema import to_dict
from dycoke_cli.compression.methods import DyCoke
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.errors import DycokeError
from dycoke_cli.loop.plan import Plan
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.request import Request
from dycoke_cli.runs import local as in_process
from dycoke_cli.runs.listener import Listener
from dycoke_cli.runs.outcome import Outcome as Line
from dycoke_cli.runs.outcome import all_failed, answered
from dycoke_cli.server.local import batch_client, batch_run
from dycoke_cli.server.local.client import events, post
from dycoke_cli.server.local.unix_socket import connect
from dycoke_cli.server.local.wire import BATCH_PATH, Batch, line_of, setup_of
from dycoke_cli.server.metrics import Metrics
from dycoke_cli.video.sampling import Sampling
from tests.cli.harness import REAL, ROOT, Outcome, run_here
from tests.runs.pretended import PretendedModel, pretended_answer
from tests.server.local.conftest import Served
from tests.server.local.test_ask import without_times
from tests.server.pretended import PATIENCE_S, make_service, served

CLIPS = ROOT / "sample_videos"
FOUR = [CLIPS / f"{name}.mp4" for name in ("move", "turn", "appear", "vanish")]
MEASURED = ("seconds", "tokens_per_second", "bytes")
FLAGS = ("--frames", "4", "--max-new-tokens", "4")


@dataclass
class Answers:
    """What the server's model does: an answer is the question, once the gate is open."""

    gate: threading.Event = field(default_factory=threading.Event)
    began: threading.Event = field(default_factory=threading.Event)
    read: list[str] = field(default_factory=list)
    loading: list[LoadOptions] = field(default_factory=list)

    def make(self, loaded: Any, plan: Plan, engine: EngineThread) -> Any:
        answers = self

        class Answerer:
            waiting: list[DecodedJob] = []  # noqa: RUF012
            full = False

            def add(self, read: DecodedJob) -> list[Line]:
                answers.read.append(read.job.video.name)
                if isinstance(read.clip, DycokeError):
                    return all_failed(read.job, plan, read.clip)
                self.waiting.append(read)
                return []

            def answer(self) -> list[Line]:
                answers.began.set()
                answers.gate.wait(PATIENCE_S)
                job = self.waiting.pop(0).job
                each = [(asked, pretended_answer(asked.text)) for asked in job.questions]
                return engine.call(
                    lambda _: [answered(job, asked, plan, answer) for asked, answer in each]
                )

        return Answerer()


@pytest.fixture
def answers(local: Served, monkeypatch: pytest.MonkeyPatch) -> Iterator[Answers]:
    """The server's model pretends, and the command has none."""

    def refuse(*_: Any) -> Any:
        pytest.fail("it was answered in the command")

    answers = Answers()
    answers.gate.set()
    monkeypatch.setattr(batch_run, "_InTurns", answers.make)

    def choose(name: str, loading: LoadOptions) -> PretendedModel:
        answers.loading.append(loading)
        return PretendedModel(name)

    monkeypatch.setattr(batch_run, "choose", choose)
    monkeypatch.setattr(in_process, "answers", refuse)
    yield answers
    answers.gate.set()


def batch(*arguments: str | Path) -> Outcome:
    return run_here("batch", *arguments, *FLAGS)


def wait_until_idle(engine: EngineThread) -> None:
    until = time.monotonic() + PATIENCE_S
    while engine.idle_s == 0.0:
        assert time.monotonic() < until
        time.sleep(0.02)


def test_one_video_that_fails_does_not_end_it(answers: Answers, tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"\0" * 100)
    run = batch(broken, *FOUR[:2], "-q", "What?", "-q", "Why?")
    assert run.code == 1
    said = {(Path(one["video"]).name, one["question"]): one.get("answer") for one in run.objects}
    assert said == {
        (name, question): None if name == "broken.mp4" else f"{question} indeed"
        for name in ("broken.mp4", "move.mp4", "turn.mp4")
        for question in ("What?", "Why?")
    }


def test_the_plan_has_the_dtype_of_the_loaded_model(answers: Answers) -> None:
    # That of the command, or of the memory that is free beside the model, may be another.
    assert batch(FOUR[0], "What?").code == 0
    assert [options.dtype for options in answers.loading] == ["float32"]


def test_what_is_answered_is_not_asked_again(answers: Answers, tmp_path: Path) -> None:
    out = tmp_path / "answers.jsonl"
    assert batch(FOUR[0], "What?", "--out", out).code == 0
    run = batch(*FOUR[:2], "What?", "--out", out)
    assert run.code == 0
    assert "1 of 2 questions answered, 1 done already" in run.err
    assert (len(out.read_text().splitlines()), answers.read) == (2, ["move.mp4", "turn.mp4"])


def opened(local: Served, jobs: list[Job]) -> tuple[Plan, batch_client.LocalEngine]:
    answer = batch_client.open_batch(local.service.defaults, jobs, None, False)
    assert not isinstance(answer, str), answer
    return answer


def jobs_of(*videos: Path) -> list[Job]:
    return [Job(Video(str(v), v.name, v.name), (JobQuestion(None, "What?"),)) for v in videos]


def test_only_so_many_videos_are_sent_ahead(
    local: Served, answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_client, "_AHEAD", 2)
    monkeypatch.setattr(batch_client, "_POLL_S", 0.02)
    drawn: list[str] = []

    def drawing() -> Iterator[Job]:
        for job in jobs_of(*FOUR):
            drawn.append(job.video.name)
            yield job

    answers.gate.clear()
    plan, engine = opened(local, jobs_of(*FOUR))
    outcomes = engine(drawing(), plan, Listener())
    threading.Timer(0.5, lambda: (ahead.extend(drawn), answers.gate.set())).start()
    ahead: list[str] = []
    assert len([*outcomes]) == 4
    assert (len(ahead), len(drawn)) == (2, 4)


def test_a_run_that_is_to_stop_finishes_what_is_under_way(
    local: Served, answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_client, "_POLL_S", 0.02)
    answers.gate.clear()
    plan, engine = opened(local, jobs_of(*FOUR))
    listener = Listener()

    def interrupt() -> None:
        answers.began.wait(PATIENCE_S)
        listener.stopping = True
        time.sleep(0.3)
        answers.gate.set()

    threading.Thread(target=interrupt).start()
    assert len([*engine(iter(jobs_of(*FOUR)), plan, listener)]) == 1
    wait_until_idle(local.service.engine)


def test_a_command_that_ends_ends_its_batch(local: Served, answers: Answers) -> None:
    answers.gate.clear()
    plan, engine = opened(local, jobs_of(*FOUR))
    outcomes = engine(iter(jobs_of(*FOUR)), plan, Listener())
    answers.gate.set()
    next(outcomes)
    outcomes.close()  # type: ignore[attr-defined]
    wait_until_idle(local.service.engine)
    assert batch(FOUR[0], "What?").code == 0


def test_a_line_that_is_no_video(local: Served, answers: Answers) -> None:
    begin = line_of(to_dict(Batch(setup_of(local.service.defaults, False), None)))
    for line in (b"nonsense\n", b'{"path": 7}\n'):
        with connect() as connection:  # type: ignore[union-attr]
            received = events(connection, post(BATCH_PATH, begin + line))
            event = next(received)
            if event["event"] == "plan":  # the line may be read before the plan is made
                event = next(received)
            assert event == {
                "event": "error",
                "code": "usage",
                "message": "a line of the batch isn't a video with its questions",
            }
            received.close()
    wait_until_idle(local.service.engine)


def test_a_server_that_dies(local: Served, answers: Answers) -> None:
    answers.gate.clear()
    plan, engine = opened(local, jobs_of(FOUR[0]))
    threading.Timer(0.3, engine._hang_up).start()
    with pytest.raises(DycokeError, match="the server ended while it answered; run it again"):
        [*engine(iter(jobs_of(FOUR[0])), plan, Listener())]


@pytest.mark.slow
def test_ctrl_c_writes_what_is_under_way(local: Served, answers: Answers, tmp_path: Path) -> None:
    out = tmp_path / "answers.jsonl"
    answers.gate.clear()
    command = [*REAL, "batch", *map(str, FOUR), "What?", "--out", str(out), *FLAGS]
    # A fork with torch in it would be no faster: the command imports none.
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE)
    until = time.monotonic() + PATIENCE_S
    while len(answers.read) < 4 or not answers.began.is_set():
        assert time.monotonic() < until
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    time.sleep(1.0)  # it looks twice a second whether it is to stop
    answers.gate.set()
    _, err = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, err.decode().splitlines()[-1]) == (130, "Interrupted")
    assert len(out.read_text().splitlines()) == 1
    assert batch(*FOUR, "What?", "--out", out).code == 0
    assert len(out.read_text().splitlines()) == 4


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (("--dtype", "float32"), "it has loaded mini with other flags"),
        (("--subtitles", "auto"), "--subtitles is for a model in this command"),
    ],
)
def test_what_cannot_be_served_says_so_once_and_runs_in_the_command(
    local: Served, flags: tuple[str, ...], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_process, "answers", lambda jobs, plan, _: (one for one in ()))
    run = batch(FOUR[0], "What?", *flags)
    assert run.code == 0
    assert run.err.count(f"Answering without your server: {reason}") == 1


def test_several_workers_are_of_the_command(local: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(in_process, "answers", lambda jobs, plan, _: iter(asked.append(plan) or ()))
    run = batch(FOUR[0], "What?", "--workers", "2")
    assert "server" not in run.err
    assert asked[0].workers == 2


@pytest.mark.extended
@pytest.mark.slow
def test_the_bundled_model_in_turns_with_others(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lines, sentences and codes are the command's own; another client has its turn meanwhile."""
    from dycoke_cli.models.load import load

    monkeypatch.chdir(tmp_path)
    for path in FOUR[:2]:
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "broken.mp4").write_bytes(b"\0" * 100)
    given = ("move.mp4", "turn.mp4", "broken.mp4", "-q", "What happens?", "-q", "What is blue?")
    flags = ("--method", "dycoke-plus:retain=0.3", "--out")
    loaded, metrics = load("mini"), Metrics()
    sessions = SessionCache(1, metrics)
    engine = EngineThread(lambda: loaded, loaded, sessions, metrics)
    defaults = Request("mini", LoadOptions(), Sampling(), DyCoke(), GenerationOptions())
    turns: list[str] = []
    began, answer = threading.Event(), batch_run._InTurns.answer

    def noted(self: Any) -> Any:
        began.set()
        turns.append("batch")
        return answer(self)

    def other() -> None:
        began.wait(PATIENCE_S)
        engine.call(lambda _: turns.append("other"))

    monkeypatch.setattr(batch_run._InTurns, "answer", noted)
    with served(make_service(engine, sessions, metrics, defaults=defaults)):
        with monkeypatch.context() as only:
            only.setattr(in_process, "answers", None)  # which would fail
            run = batch(*given, *flags, "served.jsonl")
            thread = threading.Thread(target=other)
            began.clear()
            thread.start()
            assert batch(*FOUR, "What happens?", "--batch-size", "1").code == 0
            thread.join()
        assert turns.index("other") < len(turns) - 1
        alone = batch(*given, *flags, "alone.jsonl", "--no-server")
        assert run.code == alone.code == 1
        lines = [read(tmp_path / f"{name}.jsonl") for name in ("served", "alone")]
        assert len(lines[0]) == 6
        assert lines[0] == lines[1]
        assert str(tmp_path) not in run.out + run.err
        shown = [sorted(each.err.replace("served", "alone").splitlines()) for each in (run, alone)]
        assert shown[0] == shown[1]
        resumed = batch(*given, *flags, "served.jsonl", "--no-server")
        assert "4 of 6 done already" in resumed.err
        wrong = ("move.mp4", "What?", "--prune-layer", "77")
        assert batch(*wrong).err == batch(*wrong, "--no-server").err


def read(path: Path) -> dict[str, Any]:
    """The lines of a file of results by their keys, without what differs from run to run."""
    lines = [without_times(json.loads(line)) for line in path.read_text().splitlines()]
    return {line["key"]: {k: v for k, v in line.items() if k not in MEASURED} for line in lines}
