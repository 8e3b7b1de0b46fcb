"""Limits on JSON, against what the json module itself finds in the parsed document."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dycoke_cli.answer.json_schema import Bounds, BoundsError, parse

SMALL = Bounds(nbytes=200, values=20, depth=4)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b" " * 201, "larger than 200 bytes"),
        (b"[" * 5, "nested more than 4 deep"),
        (b'{"a":' * 5 + b"1" + b"}" * 5, "nested more than 4 deep"),
        (b"[" + b"[]," * 19 + b"[]]", "more than 20 values"),
        (b"[" + b"1," * 20 + b"1]", "more than 20 values"),
        (b"[]" * 5 + b"]" * 50, "brackets that close"),
        (json.dumps([[[[[]]]]]).encode("utf-16"), "isn't UTF-8"),
        # What would be a string in UTF-8 isn't one here: U+2200 has the byte of a quote.
        ("\u2200[[[[[[".encode("utf-16-le"), "isn't UTF-8"),
        # A quote after a backslash ends no string, and a bracket in a string is none.
        (b'["\\"", [[[[]]]], "x"]', "nested more than 4 deep"),
    ],
)
def test_what_exceeds_a_limit_is_not_parsed(content: bytes, says: str) -> None:
    with pytest.raises(BoundsError, match=says):
        parse(content, SMALL)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b'"a', b"[1,]", b"1" * 5000])
def test_what_is_no_json_is_a_value_error(content: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - as the json module says it
        parse(content)


@settings(max_examples=60, deadline=None)
@given(
    st.recursive(
        st.none() | st.text(alphabet='a"\\[]{},'),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(st.text(alphabet='a"\\[]{},', max_size=3), inner, max_size=4)
        ),
        max_leaves=20,
    )
)
def test_depth_and_values_are_those_of_the_document(document: Any) -> None:
    def depth(value: Any) -> int:
        inner = value.values() if isinstance(value, dict) else value
        is_nested = isinstance(value, (dict, list))
        return 1 + max(map(depth, inner), default=0) if is_nested else 0

    def values(value: Any) -> int:
        if not isinstance(value, (dict, list)):
            return 0
        inner = list(value.values() if isinstance(value, dict) else value)
        return 1 + max(len(inner) - 1, 0) + sum(map(values, inner))

    content = json.dumps(document).encode()
    exact = Bounds(values=max(values(document), 1), depth=max(depth(document), 1))
    assert parse(content, exact) == parse(b"\xef\xbb\xbf" + content, exact) == document
    for less in (
        Bounds(values=exact.values, depth=exact.depth - 1),
        Bounds(values=exact.values - 1, depth=exact.depth),
    ):
        if depth(document):
            with pytest.raises(BoundsError):
                parse(content, less)


@pytest.mark.parametrize("part", [b'"\\"', b'"', b"\\", b'"\\', b"]", b'["', b"[],"])
def test_the_check_takes_no_more_time_than_the_length(part: bytes) -> None:
    began = time.process_time()
    with pytest.raises(ValueError):  # noqa: PT011 - which of the limits doesn't matter
        parse(part * (2_000_000 // len(part)))
    assert time.process_time() - began < 1.5
