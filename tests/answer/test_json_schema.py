"""The schema and the object of a dataclass, against ones written down by hand."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

import pytest

from dycoke_cli.answer.json_schema import (
    ABSENT,
    NOT_A_KEY,
    Absent,
    Doc,
    MismatchError,
    Part,
    Unreported,
    from_dict,
    read_or_none,
    reported,
    schema_of,
    to_dict,
)
from tests.documents import example

Count = Annotated[int, Doc(minimum=0)]


@dataclass(frozen=True)
class Inner:
    share: float
    word: Literal["a", "b"] | None
    either: int | str


@dataclass(frozen=True, kw_only=True)
class Outer:
    schema: str = "test/1"
    count: Annotated[Count, Doc("How many.")]
    least: Annotated[int | None, Doc(minimum=2)]
    inner: Annotated[Inner | None, Doc("Maybe.")]
    flags: tuple[bool, ...]
    by_name: dict[str, Inner]
    open: dict[str, Any]
    id: Annotated[str | Absent | None, Doc(needs=("again",))] = ABSENT
    again: Outer | Absent = ABSENT
    secret: Annotated[object, NOT_A_KEY] = None


INNER = {
    "type": "object",
    "properties": {
        "share": {"type": "number"},
        "word": {"enum": ["a", "b", None]},
        "either": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
    },
    "required": ["share", "word", "either"],
    "additionalProperties": False,
}
OUTER = {
    "type": "object",
    "properties": {
        "schema": {"const": "test/1"},
        "count": {"type": "integer", "minimum": 0, "description": "How many."},
        "least": {"type": ["integer", "null"], "minimum": 2},
        "inner": INNER | {"type": ["object", "null"], "description": "Maybe."},
        "flags": {"type": "array", "items": {"type": "boolean"}},
        "by_name": {"type": "object", "additionalProperties": INNER},
        "open": {"type": "object"},
        "id": {"type": ["string", "null"]},
        "again": {"$ref": "#/$defs/outer"},
    },
    "required": ["schema", "count", "least", "inner", "flags", "by_name", "open"],
    "additionalProperties": False,
    "dependentRequired": {"id": ["again"]},
}


def test_schema_of_a_dataclass() -> None:
    assert schema_of("test/1", "A test.", {"outer": Part(Outer)}) == {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "test/1",
        "title": "test/1",
        "description": "A test.",
        "oneOf": [{"$ref": "#/$defs/outer"}],
        "$defs": {"outer": OUTER},
    }


def test_a_part_needs_more_or_has_less() -> None:
    part = Part(Outer, needs=("id",), without=("again",))
    schema = schema_of("test/1", "", {"outer": part})["$defs"]["outer"]
    assert schema["required"] == [*OUTER["required"], "id"]  # type: ignore[misc]
    assert "again" not in schema["properties"]


def test_a_type_that_has_no_schema_is_refused() -> None:
    @dataclass(frozen=True)
    class Odd:
        schema: str
        when: complex

    with pytest.raises(KeyError):
        schema_of("test/1", "", {"odd": Part(Odd)})


def test_object_of_a_dataclass() -> None:
    inner = Inner(0.5, None, "x")
    outer = Outer(
        count=1,
        least=None,
        inner=inner,
        flags=(True,),
        by_name={"one": inner},
        open={"any": (1, None)},
        secret=object(),
    )
    assert to_dict(outer) == {
        "schema": "test/1",
        "count": 1,
        "least": None,
        "inner": {"share": 0.5, "word": None, "either": "x"},
        "flags": [True],
        "by_name": {"one": {"share": 0.5, "word": None, "either": "x"}},
        "open": {"any": [1, None]},
    }
    assert list(to_dict(outer))[:2] == ["schema", "count"]


def test_examples_are_made_up_from_types() -> None:
    made = example(Outer, flags=(False,))
    assert made == Outer(count=1, least=None, inner=None, flags=(False,), by_name={}, open={})
    assert example(Inner, word="b") == Inner(1.0, "b", 1)


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


@dataclass(frozen=True)
class Figures:
    visual: Annotated[Count | Unreported, Doc("How many.")]
    rate: Annotated[float | None, Doc(minimum=0)]
    total: float
    here: Annotated[Count | Unreported | Absent, Doc(remote=True)] = ABSENT


@dataclass(frozen=True, kw_only=True)
class Measured:
    schema: str = "test/1"
    figures: Figures | Unreported
    either: Figures | Annotated[Figures, Doc(remote=True)]
    again: Measured | Absent = ABSENT
    kind: Literal["a", "b"]


LOCAL = {
    "type": "object",
    "properties": {
        "visual": {"type": "integer", "minimum": 0, "description": "How many."},
        "rate": {"type": ["number", "null"], "minimum": 0},
        "total": {"type": "number"},
    },
    "required": ["visual", "rate", "total"],
    "additionalProperties": False,
}
REMOTE = {
    "type": "object",
    "properties": {
        "visual": {"type": ["integer", "null"], "minimum": 0, "description": "How many."},
        "rate": {"type": ["number", "null"], "minimum": 0},
        "total": {"type": "number"},
        "here": {"type": ["integer", "null"], "minimum": 0},
    },
    "required": ["visual", "rate", "total", "here"],
    "additionalProperties": False,
}


def test_a_part_of_a_server_has_its_own_keys_and_null_for_what_may_not_be_reported() -> None:
    parts = {
        "local": Part(Measured, values={"kind": {"const": "a"}}),
        "remote": Part(Measured, remote=True),
    }
    local, remote = schema_of("test/1", "", parts)["$defs"].values()
    assert local["properties"] == {
        "schema": {"const": "test/1"},
        "figures": LOCAL,
        "either": {"anyOf": [LOCAL, REMOTE]},
        "again": {"$ref": "#/$defs/local"},
        "kind": {"const": "a"},
    }
    assert remote["properties"] == {
        "schema": {"const": "test/1"},
        "figures": REMOTE | {"type": ["object", "null"]},
        "either": {"anyOf": [REMOTE, REMOTE]},
        "again": {"$ref": "#/$defs/remote"},
        "kind": {"enum": ["a", "b"]},
    }
    assert local["required"] == remote["required"] == ["schema", "figures", "either", "kind"]


def test_what_is_not_reported_comes_back_as_null() -> None:
    figures = Figures(None, 0.5, 1.0, None)
    document = to_dict(Measured(figures=None, either=figures, kind="b"))
    assert document["either"] == {"visual": None, "rate": 0.5, "total": 1.0, "here": None}
    assert "here" not in to_dict(Figures(1, None, 1.0))
    assert from_dict(Measured, document) == Measured(figures=None, either=figures, kind="b")


@dataclass(frozen=True)
class Newer(Figures):
    """The figures of a client that has one more than the server."""

    more: Annotated[Count | Unreported, Doc("New.")] = 0


@pytest.mark.parametrize("name", ["visual", "rate", "total"])
@pytest.mark.parametrize(
    "value", [None, "1", True, -1, [], {}, float("nan"), float("-inf"), 2**63, "missing"]
)
def test_what_a_server_reports_is_read_key_by_key(name: str, value: object) -> None:
    given = {"visual": 3, "rate": 0.5, "total": 2.0, "here": 9, "unknown": {"a": 1}}
    known = {"visual": 3, "rate": 0.5, "total": 2.0, "more": None}
    assert reported(Newer, given) == known
    given[name] = value
    if value == "missing":
        del given[name]
    expected = -1 if (name, value) == ("total", -1) else None  # which has no minimum
    assert reported(Newer, given) == known | {name: expected}
    assert asdict(Newer(**reported(Newer, given)))["more"] is None


@pytest.mark.parametrize("value", [None, [], "text", 7, float("nan")])
def test_a_server_that_reports_no_object_reports_nothing(value: object) -> None:
    assert reported(Figures, value) == {"visual": None, "rate": None, "total": None}
