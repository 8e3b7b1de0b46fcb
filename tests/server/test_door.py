"""A server that runs answers `dycoke ask`: the same words, objects, sentences and exit codes."""

from __future__ import annotations

import os
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from dycoke_cli.compression.base import Method
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.models import settings
from dycoke_cli.models.load_options import LoadOptions
from dycoke_cli.request import Request
from dycoke_cli.server import door
from dycoke_cli.server.doorkeeper import Doorkeeper
from dycoke_cli.server.engine_thread import EngineThread
from dycoke_cli.server.held_videos import HeldVideos
from dycoke_cli.server.metrics import Metrics
from dycoke_cli.storage import cache_folder as cache
from dycoke_cli.video.sampling import Sampling
from tests.cli import fake_engine
from tests.cli.fake_engine import FakeLoaded, FakeSession
from tests.cli.harness import CLIP, Outcome, run_here

PATIENCE_S = 20.0
DEFAULTS = Request("mini", LoadOptions(), Sampling(), Method(), GenerationOptions())


@dataclass
class Served:
    """The server's half, in this process."""

    loaded: FakeLoaded
    engine: EngineThread
    keeper: Doorkeeper
    stopped: threading.Event

    def has_answered(self) -> bool:
        """Whether the last conversation was held with the server's model."""
        return FakeSession.made[-1].loaded is self.loaded


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name, module in fake_engine.modules_of_a_process().items():
        monkeypatch.setitem(sys.modules, name, module)
    FakeSession.made.clear()
    with tempfile.TemporaryDirectory() as name:  # short, as paths of sockets must be
        monkeypatch.setenv(door.ENVIRONMENT, f"{name}/run")
        monkeypatch.setenv(settings.ENVIRONMENT, f"{name}/settings.json")
        monkeypatch.setenv(cache.ENVIRONMENT, f"{name}/cache")
        yield Path(name) / "run"


@pytest.fixture
def served(folder: Path) -> Iterator[Served]:
    loaded, metrics, stopped = FakeLoaded("mini", layers=10), Metrics(), threading.Event()
    engine = EngineThread(lambda: loaded, loaded, HeldVideos(1, metrics), metrics)  # type: ignore[arg-type, return-value]
    keeper = Doorkeeper(engine, DEFAULTS, stopped.set)
    assert keeper.listens
    engine.start()
    keeper.start()
    yield Served(loaded, engine, keeper, stopped)
    keeper.close()
    engine.stop()


def ask(*arguments: str | Path) -> Outcome:
    return run_here("ask", CLIP, "What?", "--frames", "2", *arguments)


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: without_times(v) for k, v in value.items() if k != "seconds"}
    return [*map(without_times, value)] if isinstance(value, list) else value


@pytest.mark.parametrize(
    "flags",
    [
        (),
        ("-q", "Why?", "--follow-up"),
        ("--compare", "--method", "dycoke:merge_ratio=0.5,window=2"),
        ("--stats", "--max-new-tokens", "2"),
        ("--frames", "0"),
        ("--end", "1", "--fps", "4"),
        ("--start", "99"),
        ("--time-limit", "100"),
        ("--memory-limit", "1MB"),
        ("--prune-layer", "77"),
    ],
    ids=" ".join,
)
def test_words_objects_and_codes_are_those_of_a_cold_one(
    served: Served, flags: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_MEMORY_WARNING", "there is little memory")
    warm = ask(*flags)
    was_warm = not warm.code and served.has_answered()
    cold = ask(*flags, "--no-server")
    assert (warm.code, warm.out) == (cold.code, cold.out)
    assert was_warm == (warm.code == 0)
    lines = [[x for x in run.err.splitlines() if " s" not in x] for run in (warm, cold)]
    assert lines[0] == lines[1]
    objects = [
        without_times(ask(*flags, "--json", *more).objects) for more in ((), ("--no-server",))
    ]
    assert objects[0] == objects[1]


def test_a_warm_command_starts_no_decoder(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    def unwanted(*_: object) -> None:
        raise AssertionError("the server reads the video")

    monkeypatch.setattr("dycoke_cli.video.decoder.Decoder", unwanted)
    assert ask().code == 0
    assert served.has_answered()
    assert ask("--no-server").code == 1


def test_names_of_files_are_shown_as_they_were_given(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here.mp4").write_bytes(CLIP.read_bytes())
    assert run_here("ask", "here.mp4", "What?", "--json").object["video"] == "here.mp4"
    assert served.has_answered()
    run = run_here("ask", "nofile.mp4", "What?")
    assert (run.code, run.err.splitlines()[-1]) == (
        3,
        "Error: nofile.mp4 doesn't exist: check the spelling and the folder",
    )
    run = run_here("ask", "here.mp4", "What?", "--subtitles", "no.srt")
    assert str(tmp_path) not in run.err


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (("--dtype", "float32"), "it has loaded mini with other flags"),
        (("--kernels", "stock"), "it has loaded mini with other flags"),
        (("--model", "llava-onevision-0.5b", "--random-weights"), "it has the model mini"),
    ],
)
def test_what_cannot_be_served_says_so_once_and_runs_cold(
    served: Served, flags: tuple[str, ...], reason: str
) -> None:
    run = ask("-q", "Why?", *flags)
    assert run.code == 0, run.err
    assert run.err.count(f"Asking without your server: {reason}") == 1
    assert not served.has_answered()
    assert "Asking" not in ask(*flags, "--quiet").err


def test_a_video_from_stdin_is_read_here(served: Served) -> None:
    run = run_here("ask", "-", "What?", stdin=CLIP.read_bytes())
    assert run.code == 0
    assert "the video comes from stdin" in run.err


def test_another_version(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "code", lambda: "0.0.1 /elsewhere ")
    run = ask()
    assert run.code == 0
    assert "it runs another version of dycoke" in run.err
    assert not served.has_answered()


def test_the_socket_is_shut_to_others(served: Served, folder: Path) -> None:
    assert os.stat(folder).st_mode & 0o777 == 0o700
    assert os.stat(folder / "serve.sock").st_mode & 0o777 == 0o600


@pytest.mark.parametrize("mode", [0o755, 0o701, 0o770])
def test_a_folder_that_others_can_enter_is_not_trusted(
    served: Served, folder: Path, mode: int
) -> None:
    folder.chmod(mode)
    assert ask().code == 0
    assert not served.has_answered()


def test_a_socket_of_another_user_is_not_trusted(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert door.connect() is None


def test_a_folder_that_is_a_link_is_not_trusted(served: Served, folder: Path) -> None:
    folder.rename(folder.with_name("real"))
    folder.symlink_to(folder.with_name("real"))
    assert door.connect() is None


def test_what_is_left_of_a_server_that_was_killed(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(folder / "serve.sock"))
    assert ask().code == 0
    engine = None
    keeper = Doorkeeper(engine, DEFAULTS, lambda: None)  # type: ignore[arg-type]
    assert keeper.listens
    keeper.close()


def test_the_first_server_keeps_the_socket(served: Served) -> None:
    second = Doorkeeper(served.engine, DEFAULTS, lambda: None)
    assert not second.listens
    second.close()
    assert ask().code == 0
    assert served.has_answered()


def test_a_command_that_ends_ends_its_conversation(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_PAUSE_S", "0.06")
    monkeypatch.setenv("FAKE_ANSWER", " ".join(["word"] * 1000))
    connection = door.connect()
    assert connection is not None
    with connection, closing(door.received(connection)) as events:
        connection.settimeout(PATIENCE_S)
        generation = GenerationOptions(max_new_tokens=1000)
        request = replace(DEFAULTS, sampling=Sampling(frames=2), generation=generation)
        asked = replace(_conversation(), questions=["What?"], request=request)
        connection.sendall(door.message(door.to_dict(door._sent(asked))))
        assert any(event["event"] == "text" for event in events)
    began = time.monotonic()
    while served.engine.idle_s == 0.0:
        assert time.monotonic() - began < 15  # the answer would have taken a minute
        time.sleep(0.02)


def test_a_server_that_dies_in_an_answer(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def talk(*events: dict[str, Any]) -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(65536)
            for event in events:
                connection.sendall(door.message(event))

    folder.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "serve.sock"))
        listening.listen()
        for events, code, said in (
            ((), 0, "it ended"),
            (({"event": "taken"},), 0, "it ended"),
            (
                ({"event": "taken"}, {"event": "text", "text": "Half an"}),
                1,
                "ended while it answered",
            ),
        ):
            thread = threading.Thread(target=talk, args=events)
            thread.start()
            run = ask()
            thread.join()
            assert run.code == code
            assert said in run.err


@pytest.mark.parametrize(
    "sent", [b"\n", b"{}\n", b"[]\n", b"nonsense\n", b'{"code": 7}\n', b"[" * 9999]
)
def test_nonsense_does_no_harm(served: Served, sent: bytes) -> None:
    connection = door.connect()
    assert connection is not None
    with connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        connection.settimeout(PATIENCE_S)
        connection.recv(4096)
    assert ask().code == 0
    assert served.has_answered()


def test_stop(served: Served) -> None:
    stopping = threading.Thread(target=lambda: served.stopped.wait() and served.keeper.close())
    stopping.start()
    assert run_here("serve", "stop").code == 0
    assert served.stopped.is_set()
    run = run_here("serve", "stop")
    assert (run.code, run.err) == (1, "Error: no server of yours is running\n")


def _conversation() -> Any:
    from dycoke_cli.runs.conversation import Conversation

    return Conversation((str(CLIP),), [], DEFAULTS)
