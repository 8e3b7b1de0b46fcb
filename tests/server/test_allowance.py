"""What reading the videos of a request may take, and how it is ended."""

from __future__ import annotations

import threading

import pytest

from dycoke_cli.errors import VideoError
from dycoke_cli.server.allowance import Allowance
from dycoke_cli.server.refused import gone
from tests.server.pretended import PATIENCE_S, ample


def work(allowance: Allowance, error: Exception | None = None) -> None:
    """Wait until it is stopped, then fail."""
    stopped = threading.Event()
    with allowance.stopping(stopped.set):
        assert stopped.wait(PATIENCE_S)
        if error is not None:
            raise error


@pytest.mark.parametrize("error", [None, OSError("the connection is closed")])
def test_a_wait_is_ended_from_another_thread(error: Exception | None) -> None:
    """Whatever error that causes, and if it causes none, the reason is raised, again and again."""
    reason = gone()
    with ample() as allowance:
        threading.Timer(0.05, allowance.end, [reason]).start()
        for _ in range(2):
            with pytest.raises(type(reason)) as caught:
                work(allowance, error)
            assert caught.value is reason


def test_an_error_of_its_own_stays() -> None:
    with ample() as allowance, pytest.raises(OSError, match="broken"), allowance.stopping(gone):
        raise OSError("broken")


def test_the_first_reason_counts() -> None:
    first = gone()
    allowance = ample()
    allowance.end(first)
    allowance.end(gone())
    with pytest.raises(type(first)) as caught, allowance:
        raise AssertionError("it was ended before it began")
    assert caught.value is first


def test_the_time_begins_with_the_work() -> None:
    allowance = Allowance(0.05, 1)
    threading.Event().wait(0.1)
    with allowance:
        assert 0 < allowance.left_s <= 0.05
        threading.Event().wait(0.06)
        for late in (allowance.check, lambda: allowance.left_s):
            with pytest.raises(VideoError, match=r"aren't read after 0\.05 s: send fewer"):
                late()
