"""A running server answers `dycoke batch`: lines, results file and codes are the command's own."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from dycoke_cli.ask import Answered, Ask, Failed
from dycoke_cli.errors import DycokeError
from dycoke_cli.loop import asker
from dycoke_cli.loop.asker import Client
from dycoke_cli.runs.converse import footage
from dycoke_cli.server.local.server_asker import ServerAsker, find_server
from tests.cli.fake_engine import PATIENCE_S
from tests.cli.harness import REAL, ROOT, Outcome, run_here
from tests.runs.pretended import Pretended
from tests.server.local.conftest import Served
from tests.waiting import until

CLIPS = ROOT / "sample_videos"
FOUR = [CLIPS / f"{name}.mp4" for name in ("move", "turn", "appear", "vanish")]
FLAGS = ("--frames", "4", "--max-tokens", "4")


def batch(*arguments: str | Path) -> Outcome:
    return run_here("batch", *arguments, *FLAGS)


def test_questions_of_a_run_are_answered_together(local: Served) -> None:
    assert batch(*FOUR, "What?").code == 0
    assert sorted(map(len, local.pretended.batches)) in ([4], [1, 3], [2, 2])
    local.pretended.batches.clear()
    assert batch(*FOUR, "What?", "--batch-size", "1").code == 0
    assert [*map(len, local.pretended.batches)] == [1, 1, 1, 1]
    assert local.has_answered()


def test_the_last_questions_of_a_run_wait_for_no_others(local: Served) -> None:
    """The server is told that no more come: else it would wait a second for a larger batch."""
    client = Client(bulk=True)
    [pending] = local.service.engine.submit(*_asks(local, FOUR[0]), client=client)
    client.is_over = True  # what "over" does
    began = time.monotonic()
    with found(local) as asking:
        answers = [*asking.answers([_asks(local, FOUR[1])])]
    assert len(answers) == 1
    assert time.monotonic() - began < PATIENCE_S
    pending.cancel()


def test_the_plan_has_the_dtype_of_the_loaded_model(
    local: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    # That of the command, or of the memory that is free beside the model, may be another.
    from dycoke_cli.models import resolve

    given: list[Any] = []
    choose = resolve.resolve_model

    def chosen(name: str, loading: Any) -> Any:
        given.append(loading.dtype)
        return choose(name, loading)

    monkeypatch.setattr(resolve, "resolve_model", chosen)
    assert batch(FOUR[0], "What?").code == 0
    assert given == ["float32"]


def found(local: Served, **more: Any) -> ServerAsker:
    asking = find_server(local.service.defaults, bulk=True, **more)
    assert not isinstance(asking, str), asking
    return asking


def _asks(local: Served, video: Path, *questions: str) -> list[Ask]:
    request = local.service.defaults
    shown = footage(str(video), request)
    return [Ask(text, request, (shown,), key=text) for text in questions or ("What?",)]


def groups(local: Served, drawn: list[str] | None = None) -> Iterator[list[Ask]]:
    for number, video in enumerate(FOUR):
        if drawn is not None:
            drawn.append(video.name)
        yield _asks(local, video, f"question {number}")


def test_only_so_many_videos_are_sent_ahead(local: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asker.Asker, "ahead_videos", 2)
    drawn: list[str] = []
    local.pretended.gate.clear()
    ahead: list[str] = []

    def look() -> None:
        until(lambda: len(drawn) >= 3)
        time.sleep(0.5)  # nothing tells that no other is drawn
        ahead.extend(drawn)
        local.pretended.gate.set()

    threading.Thread(target=look, daemon=True).start()
    with found(local) as asking:
        assert len([*asking.answers(groups(local, drawn))]) == 4
    # Two are asked about, and the next one is drawn, so that it can be sent at once.
    assert (len(ahead), len(drawn)) == (3, 4)


def test_a_run_that_is_to_stop_finishes_what_is_under_way(local: Served) -> None:
    local.pretended.gate.clear()
    stopping = threading.Event()

    def interrupt() -> None:
        until(lambda: local.service.engine._current)
        stopping.set()
        time.sleep(0.5)
        local.pretended.gate.set()

    threading.Thread(target=interrupt).start()
    with found(local, batch_size=1) as asking:
        done = [*asking.answers(groups(local), stopping.is_set)]
    assert [type(event) for _, event in done] == [Answered]
    local.wait_until_idle()


def test_a_command_that_ends_ends_its_run(local: Served) -> None:
    with found(local, batch_size=1) as asking:
        outcomes = asking.answers(groups(local))
        next(outcomes)
        outcomes.close()  # type: ignore[attr-defined]
    local.wait_until_idle()
    assert batch(FOUR[0], "What?").code == 0


def test_a_server_that_dies_ends_the_run_without_lines(local: Served, tmp_path: Path) -> None:
    """Its questions aren't failures: the same command asks them again."""
    local.pretended.gate.clear()
    asking = found(local)
    outcomes = asking.answers(groups(local))
    threading.Timer(0.5, lambda: asking._link.close()).start()
    with pytest.raises(DycokeError, match="the server ended while it answered; run it again"):
        list(outcomes)
    with suppress(OSError):
        asking.close()


def test_errors_of_a_question_are_its_own(local: Served) -> None:
    [wrong, right] = _asks(local, FOUR[0], "a bug", "fine")
    with found(local) as asking:
        done = {ask.question: event for ask, event in asking.answers([[wrong], [right]])}
    assert isinstance(done["a bug"], Failed)
    assert isinstance(done["fine"], Answered)


@pytest.mark.slow
def test_ctrl_c_writes_what_is_under_way(local: Served, tmp_path: Path) -> None:
    out = tmp_path / "answers.jsonl"
    local.pretended.gate.clear()
    command = [*REAL, "batch", *map(str, FOUR), "What?", "--out", str(out), *FLAGS]
    # A fork with torch in it would be no faster: the command imports none.
    process = subprocess.Popen([*command, "--batch-size", "1"], cwd=ROOT, stderr=subprocess.PIPE)
    engine = local.service.engine
    until(lambda: engine._current and len(engine._waiting) >= 3)
    process.send_signal(signal.SIGINT)
    time.sleep(1.0)
    local.pretended.gate.set()
    _, err = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, err.decode().splitlines()[-1]) == (130, "Interrupted")
    assert len(out.read_text().splitlines()) == 1
    assert batch(*FOUR, "What?", "--out", out).code == 0
    assert len(out.read_text().splitlines()) == 4


def test_several_workers_are_of_the_command(local: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def opened(plan: Any, listener: Any) -> Pretended:
        asked.append(plan)
        return Pretended()

    monkeypatch.setattr("dycoke_cli.runs.run.asker_here", opened)
    run = batch(FOUR[0], "What?", "--workers", "2")
    assert "server" not in run.err
    assert asked[0].workers == 2
