"""Thinking is cut off in time that grows with the reply, as regular expressions would cut it."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dycoke_cli.answer.thinking import answer_of
from tests.properties import QUICK

FLAGS = re.IGNORECASE | re.DOTALL


def plainly(said: str) -> str:
    """One rule after the other, for two of the tags; quadratic where a tag has no other end."""
    opens, closes = r"(?:<think>|\[analysis\])", r"(?:</think>|\[/analysis\])"
    text = re.sub(rf"{opens}.*?{closes}", "", said, flags=FLAGS)
    text = re.sub(rf".*{closes}", "", text, flags=FLAGS)
    return re.sub(rf"{opens}.*", "", text, flags=FLAGS).strip()


PARTS = ("<think>", "</THINK>", "[analysis]", "[/analysis]", "a", "\n", " b ", "<thi", "nk>", "</")


@QUICK
@given(st.lists(st.sampled_from(PARTS), max_size=14).map("".join))
def test_blocks_are_those_of_the_rules(said: str) -> None:
    assert answer_of(said) == plainly(said)


@pytest.mark.parametrize("part", ["a", "<think>", "</think>", "[", "<answer>", "<|begin_of_box|>"])
def test_the_longest_reply_takes_no_time(part: str) -> None:
    begun = time.process_time()
    answer_of(part * (200_000 // len(part)))
    assert time.process_time() - begun < 1
