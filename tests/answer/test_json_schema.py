"""The schema and the object of a dataclass, against ones written down by hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest

from dycoke_cli.answer.json_schema import (
    ABSENT,
    NOT_A_KEY,
    Absent,
    Doc,
    SchemaVariant,
    Unreported,
    schema_of,
    to_dict,
)

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
    assert schema_of("test/1", "A test.", {"outer": SchemaVariant(Outer)}) == {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "test/1",
        "title": "test/1",
        "description": "A test.",
        "oneOf": [{"$ref": "#/$defs/outer"}],
        "$defs": {"outer": OUTER},
    }


def test_a_part_needs_more_or_has_less() -> None:
    part = SchemaVariant(Outer, needs=("id",), without=("again",))
    schema = schema_of("test/1", "", {"outer": part})["$defs"]["outer"]
    assert schema["required"] == [*OUTER["required"], "id"]  # type: ignore[misc]
    assert "again" not in schema["properties"]


def test_a_type_that_has_no_schema_is_refused() -> None:
    @dataclass(frozen=True)
    class Odd:
        schema: str
        when: complex

    with pytest.raises(KeyError):
        schema_of("test/1", "", {"odd": SchemaVariant(Odd)})


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


@dataclass(frozen=True)
class Figures:
    visual: Annotated[Count | Unreported, Doc("How many.")]
    rate: Annotated[float | None, Doc(minimum=0)]
    total: float
    here: Count | Unreported | Absent = ABSENT


@dataclass(frozen=True, kw_only=True)
class Measured:
    schema: str = "test/1"
    figures: Figures | Unreported
    again: Measured | Absent = ABSENT


FIGURES = {
    "type": ["object", "null"],
    "properties": {
        "visual": {"type": ["integer", "null"], "minimum": 0, "description": "How many."},
        "rate": {"type": ["number", "null"], "minimum": 0},
        "total": {"type": "number"},
        "here": {"type": ["integer", "null"], "minimum": 0},
    },
    "required": ["visual", "rate", "total"],
    "additionalProperties": False,
}


def test_what_a_server_may_not_report_may_be_null() -> None:
    [schema] = schema_of("test/1", "", {"one": SchemaVariant(Measured)})["$defs"].values()
    assert schema["properties"] == {
        "schema": {"const": "test/1"},
        "figures": FIGURES,
        "again": {"$ref": "#/$defs/one"},
    }
    assert schema["required"] == ["schema", "figures"]


def test_what_an_answer_does_without_is_false() -> None:
    assert not ABSENT
