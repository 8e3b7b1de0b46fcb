"""The server's end of the socket: what isn't a command of ours, and commands that leave."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from itertools import islice
from typing import Any

import pytest

from dycoke_cli.ask import Answered, Ask, Failed, Footage, Text
from dycoke_cli.errors import OutOfMemoryError
from dycoke_cli.plugins import running_code
from dycoke_cli.server.local.unix_socket import connect
from dycoke_cli.server.local.wire import STATUS, CommandSetup, Link, as_sent
from tests.cli.fake_engine import PATIENCE_S
from tests.cli.harness import CLIP, run_here
from tests.server.local.conftest import Served
from tests.waiting import until


@contextmanager
def linked() -> Iterator[Link]:
    connected = connect()
    with closing(Link(connected)) as link:
        yield link


def begin(link: Link, local: Served, *questions: str) -> Iterator[tuple[int, Any]]:
    """Ask as a command does; the events of its questions follow."""
    setup = CommandSetup.of(local.service.defaults, False, False, None)
    link.send((running_code(), pickle.dumps(setup)))
    assert (link.receive(PATIENCE_S), link.receive(PATIENCE_S)) == ("", None)
    for number, question in enumerate(questions):
        put(link, local, number, question)
    return iter(lambda: link.receive(PATIENCE_S), None)


def put(link: Link, local: Served, number: int, question: str) -> None:
    ask = Ask(question, local.service.defaults, (Footage(str(CLIP), "move.mp4"),))
    link.send(("ask", number, (as_sent(ask, lambda: ""), True)))


@pytest.mark.parametrize(
    "sent", [b"", b"POST /local/ask HTTP/1.1\r\n\r\n", pickle.dumps(7), pickle.dumps(("x",) * 2)]
)
def test_what_is_no_command_of_ours_gets_nothing_and_stops_nothing(
    local: Served, sent: bytes
) -> None:
    connected = connect()
    with connected:
        connected.sendall(sent)
        connected.shutdown(1)
        said = connected.recv(1000)
    assert said == b"" or "another version" in pickle.loads(said)
    assert run_here("ask", CLIP, "What?", "--frames", "2").code == 0
    assert local.has_answered()


def test_a_setup_that_is_not_understood(local: Served) -> None:
    for pickled in (b"nonsense", pickle.dumps(7)):
        with linked() as link:
            link.send((running_code(), pickled))
            assert link.receive(PATIENCE_S) == "it doesn't understand the request"


@pytest.mark.parametrize("cancelled", [False, True])
def test_a_command_that_leaves_or_cancels_ends_its_question(local: Served, cancelled: bool) -> None:
    local.pretended.pause_s = 0.06
    with linked() as link:
        events = begin(link, local, " ".join(["word"] * 1000))
        assert any(isinstance(event, Text) for _, event in events)
        if cancelled:
            link.send(("cancel", 0, None))
            put(link, local, 1, "What?")
            assert any(number == 1 and isinstance(event, Answered) for number, event in events)
    local.wait_until_idle()  # the answer would have taken a minute


def test_commands_that_ask_are_counted(local: Served) -> None:
    count = local.service.metrics.text
    with linked() as link:
        link.send((running_code(), pickle.dumps(STATUS)))
        assert not isinstance(link.receive(PATIENCE_S), str)
    assert "requests_total{" not in count()  # a probe
    with linked() as link:
        begin(link, local)
        until(lambda: "requests_active 1" in count(), PATIENCE_S, "the count")
    until(lambda: "requests_active 0" in count(), PATIENCE_S, "the end")
    assert 'requests_total{status="200"} 1' in count()


def test_a_command_that_reads_nothing_keeps_nobody_waiting(local: Served) -> None:
    with linked() as silent:
        begin(silent, local, *["word " * 5000] * 20)
        assert run_here("ask", CLIP, "What?", "--frames", "2").code == 0
        assert local.has_answered()
    local.wait_until_idle()


def test_a_question_that_cannot_be_asked_fails_alone(local: Served) -> None:
    with linked() as link:
        events = begin(link, local)
        defaults = local.service.defaults
        wrong = replace(defaults, generation=replace(defaults.generation, trace=99))
        link.send(("ask", 0, (Ask("What?", wrong, (Footage(str(CLIP), "a"),)), True)))
        put(link, local, 1, "What?")
        ends = ((n, type(event)) for n, event in events if isinstance(event, Answered | Failed))
        assert dict(islice(ends, 2))[1] is Answered


def test_a_model_that_cannot_be_loaded_again(local: Served) -> None:
    """After it was unloaded, for nobody had asked for long."""

    def fail(_: Any) -> Any:
        raise MemoryError

    local.service.engine._load, local.service.engine.loaded = fail, None
    with linked() as link:
        events = begin(link, local, "What?")
        failed = next(event for _, event in events if isinstance(event, Failed))
        assert isinstance(failed.error, OutOfMemoryError)
