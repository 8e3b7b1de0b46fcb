"""`--schema`: what reaches the engine, and what is refused before it."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest

from dycoke_cli.answer.answer import Answer
from tests.cli.fake_engine import Fake
from tests.cli.harness import CLIP, run_here
from tests.documents import example, valid
from tests.forms import NEEDS_LIBRARY, form_of
from tests.runs.pretended import Pretended, make_clips, pretended_answer

pytestmark = NEEDS_LIBRARY

FORM = form_of(**{"colour": "string", "where.x": "number"})


@pytest.fixture
def schema(tmp_path: Path) -> Path:
    """A file with that schema."""
    file = tmp_path / "answer.json"
    file.write_text(FORM.definition)
    return file


@pytest.mark.parametrize("inline", [True, False])
def test_the_engine_gets_the_form(inline: bool, schema: Path, fake: Fake) -> None:
    value = FORM.definition if inline else schema
    assert run_here("ask", CLIP, "What?", "--schema", value).code == 0
    assert fake[0].asked[0]["structured"] == FORM


def test_a_schema_that_cannot_be_followed(schema: Path) -> None:
    schema.write_text(json.dumps({"properties": {"a": {"type": "array", "uniqueItems": True}}}))
    run = run_here("chat", CLIP, "--schema", schema)
    assert 'followed: Unimplemented keys: ["uniqueItems"]' in run.refusal


def test_a_table_has_a_column_for_each_field(
    schema: Path, tmp_path: Path, engine: Pretended
) -> None:
    value = {"colour": "red, or so", "where.x": 1.5}
    answer = replace(pretended_answer("What?"), answer=json.dumps(value), parsed=value)
    engine.answer = lambda ask: answer
    make_clips(tmp_path / "clips", "1.mp4")
    words = ("batch", tmp_path / "clips", "What?", "--model", "mini", "--schema", schema)
    table = tmp_path / "table.csv"
    assert run_here(*words, "--out", table).code == 0
    [row] = csv.DictReader(io.StringIO(table.read_text()))
    expected = {"question": "What?", "parsed.colour": "red, or so", "parsed.where.x": "1.5"}
    assert {name: row[name] for name in expected} == expected
    assert "answer" not in row
    document = run_here(*words).object
    assert document["parsed"] == value


def test_the_document_is_as_its_schema_says() -> None:
    plain = example(Answer, video="v.mp4", finish_reason="stop", method={"name": "none"})
    for value in ({"a": [1, None]}, 1.5, None):
        document = replace(plain, parsed=value).to_dict()
        assert document["parsed"] == value
        valid(document, "answer", "answer")
    assert "parsed" not in plain.to_dict()


@pytest.mark.slow
def test_the_bundled_model_writes_json_of_any_schema(tmp_path: Path) -> None:
    """Every kind of value, a name that isn't of its words, and as often as it likes: all end."""
    kinds = {
        "what": {"type": "string"},
        'Größe, "in" cm': {"type": "number"},
        "colour": {"enum": ["red", "blue", "dark-grün"]},
        "seen": {"type": "boolean"},
        "count": {"type": "integer", "minimum": 10, "maximum": 99},
        "events": {"type": "array", "items": {"type": "string"}},
        "parts": {
            "type": "array",
            "items": {"type": "object", "properties": {"end": {"type": "integer"}}},
        },
        "any": {},
    }
    schema = {"type": "object", "properties": kinds, "required": [*kinds]}
    file = tmp_path / "schema.json"
    file.write_text(json.dumps(schema | {"additionalProperties": False}))
    words = ("ask", CLIP, "What happens?", "--model", "mini", "--no-server", "--json")
    answer = run_here(*words, "--schema", file, "--max-tokens", "250").object
    jsonschema.validate(answer["parsed"], schema)
    assert json.loads(answer["answer"]) == answer["parsed"]
    assert answer["parsed"]["what"].endswith(".")
