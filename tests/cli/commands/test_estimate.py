"""The words of an estimate."""

from __future__ import annotations

import pytest

from dycoke_cli.cli.commands.estimate import spelled


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.04, "0.0 s"), (45, "45 s"), (89.4, "89 s"), (720, "12 min"), (8640, "2.4 h")],
)
def test_durations_in_words(seconds: float, words: str) -> None:
    assert spelled(seconds) == words
