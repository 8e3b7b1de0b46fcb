"""A server that runs answers `dycoke batch`: the lines, the journal and the codes of a cold one."""

from __future__ import annotations

import json
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dycoke_cli.compression.methods import DyCoke
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.models import settings
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.request import Request
from dycoke_cli.runs import local
from dycoke_cli.server import door, held_batch
from dycoke_cli.server.doorkeeper import Doorkeeper
from dycoke_cli.server.engine_thread import EngineThread
from dycoke_cli.server.held_videos import HeldVideos
from dycoke_cli.server.metrics import Metrics
from dycoke_cli.storage import cache_folder as cache
from dycoke_cli.video.sampling import Sampling
from tests.cli.harness import ROOT, Outcome, run_here
from tests.server.test_door import without_times

pytestmark = [
    pytest.mark.extended,
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="no such sockets"),
]

CLIPS = ROOT / "sample_videos"
MEASURED = ("seconds", "tokens_per_second", "bytes")
FLAGS = ("--frames", "4", "--max-new-tokens", "4")


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:  # short, as paths of sockets must be
        monkeypatch.setenv(door.ENVIRONMENT, f"{name}/run")
        monkeypatch.setenv(settings.ENVIRONMENT, f"{name}/settings.json")
        monkeypatch.setenv(cache.ENVIRONMENT, f"{name}/cache")
        yield Path(name)


@pytest.fixture
def engine(folder: Path) -> Iterator[EngineThread]:
    from dycoke_cli.models.load import load

    loaded, metrics = load("mini"), Metrics()
    engine = EngineThread(lambda: loaded, loaded, HeldVideos(1, metrics), metrics)
    defaults = Request("mini", LoadOptions(), Sampling(), DyCoke(), GenerationOptions())
    keeper = Doorkeeper(engine, defaults, lambda: None)
    engine.start()
    keeper.start()
    yield engine
    keeper.close()
    engine.stop()


@pytest.fixture
def no_cold_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Any:
        pytest.fail("it was answered here")

    monkeypatch.setattr(local, "answers", refuse)


def batch(*arguments: str | Path) -> Outcome:
    return run_here("batch", *arguments, *FLAGS)


def answers(outcome: Outcome) -> dict[str, Any]:
    lines = [without_times(line) for line in outcome.objects]
    return {line["key"]: {k: v for k, v in line.items() if k not in MEASURED} for line in lines}


def test_lines_and_codes_are_those_of_a_cold_one(
    engine: EngineThread, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("move.mp4", "turn.mp4"):
        (tmp_path / name).write_bytes((CLIPS / name).read_bytes())
    (tmp_path / "broken.mp4").write_bytes(b"\0" * 100)
    given = ("move.mp4", "turn.mp4", "broken.mp4", "-q", "What happens?", "-q", "What is blue?")
    with monkeypatch.context() as only:
        only.setattr(local, "answers", None)  # which would fail
        warm = batch(*given, "--method", "dycoke-plus:retain=0.3")
    cold = batch(*given, "--method", "dycoke-plus:retain=0.3", "--no-server")
    assert warm.code == cold.code == 1
    assert len(warm.objects) == 6
    assert answers(warm) == answers(cold)
    assert str(tmp_path) not in warm.out + warm.err
    assert sorted(warm.err.splitlines()) == sorted(cold.err.splitlines())
    assert batch("move.mp4", "What?", "--prune-layer", "77").err == (
        batch("move.mp4", "What?", "--prune-layer", "77", "--no-server").err
    )


@pytest.mark.usefixtures("no_cold_ones")
def test_what_is_answered_is_not_asked_again(engine: EngineThread, tmp_path: Path) -> None:
    out = tmp_path / "answers.jsonl"
    assert batch(CLIPS / "move.mp4", "What happens?", "--out", out).code == 0
    run = batch(CLIPS / "move.mp4", CLIPS / "turn.mp4", "What happens?", "--out", out)
    assert run.code == 0
    assert "1 of 2 questions answered, 1 done already" in run.err
    assert len(out.read_text().splitlines()) == 2
    assert engine.idle_s > 0


def test_a_cold_run_resumes_a_warm_one(engine: EngineThread, tmp_path: Path) -> None:
    out = tmp_path / "answers.jsonl"
    assert batch(CLIPS / "move.mp4", "What happens?", "--out", out).code == 0
    run = batch(CLIPS / "move.mp4", "What happens?", "--out", out, "--no-server")
    assert "1 of 1 done already" in run.err


def test_others_are_answered_between(engine: EngineThread, monkeypatch: pytest.MonkeyPatch) -> None:
    """A question of another client has its turn before the batch is done."""
    turns: list[str] = []
    began = threading.Event()
    answer = held_batch._InTurns.answer

    def noted(self: Any) -> Any:
        began.set()
        turns.append("batch")
        return answer(self)

    monkeypatch.setattr(held_batch._InTurns, "answer", noted)

    def other() -> None:
        began.wait()
        engine.call(lambda _: turns.append("other"))

    thread = threading.Thread(target=other)
    thread.start()
    videos = [CLIPS / name for name in ("move.mp4", "turn.mp4", "appear.mp4", "vanish.mp4")]
    assert batch(*videos, "What happens?", "--batch-size", "1").code == 0
    thread.join()
    assert turns.count("batch") == 4
    assert turns.index("other") < 4


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (("--dtype", "float32"), "it has loaded mini with other flags"),
        (("--subtitles", "auto"), "--subtitles is for a model in this command"),
    ],
)
def test_what_cannot_be_served_says_so_once_and_runs_cold(
    engine: EngineThread, flags: tuple[str, ...], reason: str
) -> None:
    run = batch(CLIPS / "move.mp4", "What happens?", *flags)
    assert run.code == 0
    assert run.err.count(f"Answering without your server: {reason}") == 1


def test_several_workers_are_of_the_command(
    engine: EngineThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(local, "answers", lambda jobs, plan, _: iter(asked.append(plan) or ()))
    run = batch(CLIPS / "move.mp4", "What happens?", "--workers", "2")
    assert "server" not in run.err
    assert asked[0].workers == 2


def test_a_server_that_dies(folder: Path, tmp_path: Path) -> None:
    (folder / "run").mkdir(mode=0o700)
    plan = {"method": {"name": "none"}, "identity": {"name": "mini"}}

    def talk(*events: dict[str, Any]) -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(65536)
            for event in events:
                connection.sendall(json.dumps(event).encode() + b"\n")
            connection.recv(65536)

    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "run" / "serve.sock"))
        listening.listen()
        thread = threading.Thread(target=talk, args=({"event": "taken", **plan},))
        thread.start()
        run = batch(CLIPS / "move.mp4", "What?", "--out", tmp_path / "out.jsonl")
        thread.join()
    assert run.code == 1
    assert "the server ended while it answered; run it again" in run.err
