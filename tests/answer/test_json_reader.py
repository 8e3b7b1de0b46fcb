"""JSON values as dataclasses: what fits, what doesn't, and what a server reports."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dycoke_cli.answer.json_schema import (
    MismatchError,
    from_dict,
    read_or_none,
    to_dict,
)
from tests.answer.test_json_schema import Figures, Inner, Measured, Outer

WHOLE = Outer(
    count=3,
    least=None,
    inner=Inner(0.5, "a", "x"),
    flags=(True, False),
    by_name={"b": Inner(1, None, 2)},
    open={"any": [1, {"a": None}]},
)


def test_an_object_comes_back() -> None:
    read = from_dict(Outer, json.loads(json.dumps(to_dict(WHOLE))))
    assert read == WHOLE
    assert type(read.inner) is Inner
    assert from_dict(tuple[tuple[str, int], ...], [["a", 1]]) == (("a", 1),)


@pytest.mark.parametrize(
    "change",
    [
        {"count": "3"},
        {"count": None},
        {"count": True},
        {"count": -1},
        {"count": 10**400},
        {"least": 1},
        {"least": 1.5},
        {"inner": []},
        {"inner": {"share": 1}},
        {"inner": {"share": float("nan"), "word": None, "either": 1}},
        {"inner": {"share": float("inf"), "word": None, "either": 1}},
        {"inner": {"share": False, "word": None, "either": 1}},
        {"inner": {"share": 1, "word": "c", "either": 1}},
        {"inner": {"share": 1, "word": ["a"], "either": 1}},
        {"flags": [1]},
        {"flags": "x"},
        {"by_name": [1]},
        {"by_name": {"b": 1}},
        {"unknown": 1},
    ],
)
def test_an_object_of_another_type_is_none(change: dict[str, Any]) -> None:
    with pytest.raises(MismatchError, match="not "):
        from_dict(Outer, to_dict(WHOLE) | change)
    with pytest.raises(MismatchError, match="not a Outer"):
        from_dict(Outer, {"count": 3})


def test_texts_are_made_safe_as_they_are_read() -> None:
    read = from_dict(Outer, to_dict(WHOLE), str.upper)
    assert read.inner == Inner(0.5, "a", "X")  # a literal is one of ours
    assert read.by_name == {"B": Inner(1, None, 2)}
    assert read_or_none(tuple[str, int], ["a"]) is None
    assert read_or_none(int, 1.0) is None
    assert read_or_none(int, 1) == 1


def test_what_is_not_reported_comes_back_as_null() -> None:
    figures = Figures(None, 0.5, 1.0, None)
    document = to_dict(Measured(figures=figures))
    assert document["figures"] == {"visual": None, "rate": 0.5, "total": 1.0, "here": None}
    assert "here" not in to_dict(Figures(1, None, 1.0))
    assert from_dict(Measured, document) == Measured(figures=figures)
    assert from_dict(Measured, {**document, "figures": None}) == Measured(figures=None)
