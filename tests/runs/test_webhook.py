"""The queue of a webhook, against a receiver of the standard library that fails in every way."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dycoke_cli.answer.json_schema import Bounds
from dycoke_cli.limited_http import HttpLimits
from dycoke_cli.runs import webhook
from dycoke_cli.runs.webhook import Webhook, parse_webhook
from dycoke_cli.storage import cache_folder
from tests.runs.receiver import Receiver

PATIENCE_S = 20


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as one:
        yield one


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(cache_folder.ENVIRONMENT, str(tmp_path / "cache"))
    monkeypatch.delenv(webhook.AUTHORIZATION, raising=False)
    monkeypatch.setattr(webhook, "FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(webhook, "LONGEST_WAIT_S", 0.05)


class Sender(Webhook):
    """A webhook, and what it says."""

    def __init__(self, url: str) -> None:
        self.notes: list[str] = []
        super().__init__(parse_webhook(url), self.notes.append)

    def add_numbers(self, *numbers: int) -> None:
        for number in numbers:
            self.add({"number": number})


def numbers(receiver: Receiver) -> list[int]:
    return [body["number"] for _, body in receiver.taken]


def until_taken(receiver: Receiver, count: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while len(receiver.taken) < count and time.monotonic() < deadline:
        time.sleep(0.01)


@pytest.mark.parametrize("kind", ["gone", "status", "silent", "redirect"])
def test_a_receiver_that_is_down_for_a_minute_gets_everything(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    back = threading.Event()
    statuses = {"status": 503, "redirect": 302}
    if kind == "gone":
        receiver.stop()
    elif kind == "silent":
        receiver.status = lambda headers: 200 if back.is_set() else (back.wait(5), 500)[1]
        monkeypatch.setattr(webhook, "LIMITS", HttpLimits(0.1, Bounds()))
    else:
        receiver.status = statuses[kind]
    monkeypatch.setattr(webhook, "FIRST_WAIT_S", 1.0)
    monkeypatch.setattr(webhook, "LONGEST_WAIT_S", 60.0)
    sender, waits = Sender(receiver.url), list[float]()

    def pause(event: threading.Event, seconds: float) -> None:
        if event is not sender._ending:
            event.wait(seconds)
            return
        waits.append(seconds)
        if len(waits) == 3:  # meanwhile
            sender.add_numbers(3, 4)
        if sum(waits) >= 60:
            back.set()
            receiver.start()
            receiver.status = 200

    monkeypatch.setattr(webhook, "pause", pause)
    with sender:
        begun = time.monotonic()
        sender.add_numbers(0, 1, 2)
        assert time.monotonic() - begun < 1  # whatever the receiver does
        until_taken(receiver, 5)
    assert numbers(receiver) == [0, 1, 2, 3, 4]
    assert waits == [1, 2, 4, 8, 16, 32]
    assert len({*receiver.ids}) == 5
    down, up = sender.notes
    assert "answers wait, and are sent again" in down
    assert up.endswith("takes answers again")


def test_the_next_sender_has_what_is_left_and_its_id(receiver: Receiver) -> None:
    receiver.stop()
    with Sender(receiver.url) as sender:
        sender.add_numbers(0, 1)
    assert sender.notes[-1].startswith("2 answers not sent yet")
    with Sender(receiver.url.replace("/hook", "/other")) as other:
        other.add_numbers(7)
    queued = [Path(name).stem for name in sender._queued()]
    receiver.start()
    with Sender(receiver.url) as again:
        again.add_numbers(2)
        until_taken(receiver, 3)
    assert numbers(receiver) == [0, 1, 2]
    assert [each.partition("-")[2] for each in queued] == receiver.ids[:2]
    assert again.notes == [f"2 answers of earlier watches first: {receiver.url[:-5]}"]
    assert not sender._queued()


def test_what_an_answer_was_sent_with(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(webhook.AUTHORIZATION, "Bearer abc")
    now = time.time()
    with Sender(receiver.url) as sender:
        sender.add_numbers(0)
    [headers] = receiver.headers
    assert headers["Content-Type"] == "application/json"
    assert headers["Authorization"] == "Bearer abc"
    assert abs(int(headers["Webhook-Timestamp"]) - now) < 60
    assert len(headers["Webhook-Id"]) == 32
    assert sender.notes == []


def test_the_oldest_fall_out_of_a_full_queue(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver.stop()
    monkeypatch.setattr(webhook, "MOST_EVENTS", 3)
    with Sender(receiver.url) as sender:
        sender.add_numbers(0, 1, 2, 3, 4)
        assert "queue of --webhook is full (3 answers or 64 MiB)" in sender.notes[0]
    assert "2 answers dropped from the queue of --webhook" in sender.notes
    monkeypatch.setattr(webhook, "MOST_BYTES", 2 * len('{"number": 0}'))
    with Sender(receiver.url) as sender:
        sender.add_numbers(5)
    receiver.start()
    with Sender(receiver.url):
        until_taken(receiver, 2)
    assert numbers(receiver) == [4, 5]


def test_senders_with_one_address_share_its_queue(receiver: Receiver) -> None:
    busy = threading.Lock()

    def one_at_a_time(headers: Any) -> int:
        if not busy.acquire(blocking=False):
            return 500
        time.sleep(0.02)
        busy.release()
        return 200

    receiver.status = one_at_a_time
    with Sender(receiver.url) as first, Sender(receiver.url) as second:
        for number in range(0, 10, 2):
            first.add_numbers(number)
            second.add_numbers(number + 1)
        until_taken(receiver, 10)
        deadline = time.monotonic() + PATIENCE_S
        while first._queued() and time.monotonic() < deadline:  # the last is being removed
            time.sleep(0.01)
    assert numbers(receiver) == [*range(10)]
    assert len(receiver.headers) == 10
    assert first.notes == second.notes == []


def test_the_queue_is_for_this_user_alone_and_names_no_secret(
    receiver: Receiver, tmp_path: Path
) -> None:
    receiver.stop()
    with Sender(receiver.url.replace("/hook", "/secret?token=secret")) as sender:
        sender.add_numbers(0)
    [path] = (tmp_path / "cache" / "webhooks").glob("*/*.json")
    if os.name == "posix":
        assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert "secret" not in f"{path} {sender.notes}"


def test_a_queue_that_was_cleared_is_made_again(receiver: Receiver) -> None:
    receiver.stop()
    with Sender(receiver.url) as sender:
        sender.add_numbers(0)
        cache_folder.clear("webhooks")
        sender.add_numbers(1)
        receiver.start()
    assert numbers(receiver)[-1:] == [1]  # the first may have been read before


def test_the_order_stays_if_the_clock_is_set_back(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver.stop()
    clock = iter([5, 3, 1])
    monkeypatch.setattr(time, "time_ns", lambda: next(clock))
    with Sender(receiver.url) as sender:
        sender.add_numbers(0, 1, 2)
    receiver.start()
    with Sender(receiver.url):
        until_taken(receiver, 3)
    assert numbers(receiver) == [0, 1, 2]


def test_what_a_power_failure_left_doesnt_stop_the_queue(
    receiver: Receiver, tmp_path: Path
) -> None:
    receiver.stop()
    with Sender(receiver.url) as sender:
        sender.add_numbers(0, 1)
    min((tmp_path / "cache" / "webhooks").glob("*/*.json")).write_bytes(b"")
    receiver.start()
    with Sender(receiver.url):
        until_taken(receiver, 1)
    assert numbers(receiver) == [1]
    assert not sender._queued()
