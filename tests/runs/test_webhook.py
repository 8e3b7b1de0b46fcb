"""Webhook, against a receiver of the standard library that fails in every way."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from dycoke_cli.answer.json_schema import Bounds
from dycoke_cli.retries import WEBHOOK_WAITS_S
from dycoke_cli.runs import webhook
from dycoke_cli.runs.webhook import Webhook
from dycoke_cli.storage.limited_http import HttpLimits
from tests.runs.receiver import Receiver


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as one:
        yield one


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "WEBHOOK_WAITS_S", (0.0, 0.01, 0.02, 0.03, 0.04))


def sent(receiver: Receiver, *numbers: int) -> list[str]:
    """Send answers; the warnings about them."""
    with closing(Webhook(receiver.url)) as sender:
        begun = time.monotonic()
        for number in numbers:
            sender.add({"number": number})
        assert time.monotonic() - begun < 1  # whatever the receiver does
    return sender.warnings


def numbers(receiver: Receiver) -> list[int]:
    return [body["number"] for _, body in receiver.taken]


def test_what_an_answer_is_sent_with(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DYCOKE_WEBHOOK_AUTHORIZATION", "Bearer abc")
    assert sent(receiver, 0) == []
    [headers] = receiver.headers
    assert headers["Content-Type"] == "application/json"
    assert headers["Authorization"] == "Bearer abc"
    assert len(headers["Webhook-Id"]) == 32


@pytest.mark.parametrize("failures", [4, 5])
def test_an_answer_is_tried_five_times(receiver: Receiver, failures: int) -> None:
    statuses = iter([503] * failures)
    receiver.status = lambda headers: next(statuses, 200)
    warnings = sent(receiver, 0, 1)
    first, *rest = [headers["Webhook-Id"] for headers in receiver.headers]
    if failures == 4:
        assert (numbers(receiver), warnings) == ([0, 1], [])
    else:
        [warning] = warnings
        assert warning.endswith("has the status 503: an answer isn't sent")
        assert numbers(receiver) == [1]
    assert rest[:4] == [first] * 4
    assert rest[4:] != [first]


def test_each_wait_is_longer_than_the_one_before() -> None:
    assert list(WEBHOOK_WAITS_S) == sorted({*WEBHOOK_WAITS_S})
    assert len(WEBHOOK_WAITS_S) == 5


def test_redirects_are_not_followed(receiver: Receiver) -> None:
    receiver.status = 302
    [warning] = sent(receiver, 0)
    assert "has the status 302" in warning
    assert len(receiver.headers) == 5


@pytest.mark.parametrize("authorization", ["", "a\nb", "\N{BLACK STAR}"])
def test_a_receiver_that_is_gone(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, authorization: str
) -> None:
    monkeypatch.setenv("DYCOKE_WEBHOOK_AUTHORIZATION", authorization)
    receiver.stop()
    warnings = sent(receiver, 0, 1)
    assert len(warnings) == 2
    for warning in warnings:
        assert warning.startswith(f"--webhook {receiver.url[:-5]} can't be reached (")


def test_a_receiver_that_is_silent(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "LIMITS", HttpLimits(0.2, Bounds()))
    monkeypatch.setattr(webhook, "MOST_WAITING", 2)
    back = threading.Event()

    def silent(headers: Any) -> int:
        back.wait(5)
        return 200

    receiver.status = silent
    warnings = sent(receiver, *range(10))
    back.set()
    assert warnings[-1].endswith("is too slow: 2 not sent")
    assert 7 <= sum("is too slow: an answer isn't sent" in each for each in warnings) <= 8
