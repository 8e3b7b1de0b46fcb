"""Forms of answers: what is refused before anything runs.

They are compiled in a process that may take only so much: what the library would take isn't.
"""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from dycoke_cli.engine import structured_output
from dycoke_cli.engine.generation_options import GenerationOptions, TypedOptions
from dycoke_cli.engine.structured_output import StructuredOutput
from dycoke_cli.errors import DycokeError, UsageError
from dycoke_cli.param import key_part
from dycoke_cli.processes import isolated
from dycoke_cli.processes.isolated import Isolated
from tests.forms import NEEDS_LIBRARY, an_object, form_of
from tests.processes.sealed import assert_sealed

pytestmark = NEEDS_LIBRARY

TEXT = {"type": "string"}


def test_a_schema_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "answer.json"
    file.write_bytes(b"\xef\xbb\xbf" + json.dumps(an_object(colour=TEXT)).encode())
    form = StructuredOutput.parse(str(file))
    assert form == form_of(colour="string") == StructuredOutput.parse(f" {form.definition}")
    assert form.properties == ("colour",)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b'{"type": ', "isn't JSON: Expecting value"),
        (b"[1, 2]", "it must be a JSON object, as in"),
        (b"\xff", "can't be read: Not UTF-8 text"),
        (b"[" * 100, "it is nested more than 64 deep"),
        (b" " * ((1 << 20) + 1), "can't be read: Larger than 1 MiB"),
    ],
)
def test_a_file_that_is_refused(content: bytes, sentence: str, tmp_path: Path) -> None:
    file = tmp_path / "answer.json"
    file.write_bytes(content)
    with pytest.raises(UsageError, match=sentence):
        StructuredOutput.parse(str(file))
    with pytest.raises(UsageError, match=r"none\.json can't be read: No such file"):
        StructuredOutput.parse(str(tmp_path / "none.json"))


REFUSED: list[tuple[dict[str, Any], str]] = [
    (an_object(tags={"type": "array", "items": TEXT, "uniqueItems": True}), "uniqueItems"),
    (an_object(a={"$ref": "#/$defs/b"}) | {"$defs": {"b": {"not": TEXT}}}, "not"),
    (an_object(a={"type": "string", "format": "nosuch"}), "format.*nosuch"),
    (an_object(a={"type": "integer", "minimum": 3, "maximum": 2}), ""),
    ({"if": TEXT}, "if"),
    (an_object(**{"a\n\x1b": {"not": TEXT}}), "not"),
    ({"$ref": "https://example.org/schema"}, ""),
]


@pytest.mark.parametrize(("schema", "reason"), REFUSED)
def test_the_reason_of_the_library_is_told(schema: dict[str, Any], reason: str) -> None:
    with pytest.raises(UsageError, match=f"the schema can't be followed: .*{reason}") as refused:
        StructuredOutput.from_schema(schema)
    assert str(refused.value).isprintable()


@pytest.mark.parametrize(
    ("kind", "definition", "sentence"),
    [
        ("json", "{", "the schema can't be followed: Expecting"),
        ("json", "[]", "the schema must be a JSON object"),
        ("json", "[" * 65 + "]" * 65, "nested more than 64 deep"),
        ("json", '{"properties": {"\\ud800": {}}}', "the schema isn't Unicode"),
        ("json", '{"minimum": 1' + "0" * 400 + "}", "can't be followed: number out of range"),
        ("json", '{"minimum": 1' + "0" * 5000 + "}", "can't be followed: Exceeds the limit"),
        ("json", '{"$ref": "#"}', "can't be followed: there is no text of it"),
        ("regex", "\ud800", "the regular expression isn't Unicode"),
        ("regex", "a(", "the regular expression can't be followed: "),
        ("regex", "a" * (1 << 17), "more than 65536 characters"),
        ("regex", "(" * 400 + ")" * 400, "the regular expression can't be followed: "),
        ("grammar", "start: nosuch", "the grammar can't be followed: "),
        ("grammar", "nothing like it", "the grammar is neither Lark nor GBNF"),
    ],
)
def test_a_form_that_is_refused(kind: Any, definition: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        StructuredOutput(kind, definition)


def test_a_grammar_is_lark_or_gbnf() -> None:
    for grammar in ('start: "yes" | "no"', 'root ::= "yes" | "no"'):
        assert "yes" in StructuredOutput("grammar", grammar).grammar()


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dycoke_cli.errors.find_spec", lambda name: None)
    from dycoke_cli.errors import ModelError

    with pytest.raises(ModelError, match="needs the package llguidance, which isn't installed"):
        form_of(a="string")


def test_a_number_that_no_float_holds_is_the_largest() -> None:
    form = StructuredOutput.from_schema(an_object(a={"type": "array", "items": {"type": "number"}}))
    largest = sys.float_info.max
    assert form.value('{"a": [1e999, -1e999, 1.5]}') == {"a": [largest, -largest, 1.5]}
    digits = "9" * 5000  # Python reads 4300 at most
    assert form.value(f'{{"a": [{digits}, -{digits}]}}') == {"a": [largest, -largest]}
    assert form.value("9" * 300) == int("9" * 300)


def test_the_key_of_an_answer_has_the_form_where_there_is_one() -> None:
    forms = [form_of(a="string", b="integer"), form_of(b="integer", a="string")]
    keys = [key_part(GenerationOptions(structured=form)) for form in (None, *forms)]
    assert "structured" not in keys[0]
    assert keys[1] != keys[2]
    with pytest.raises(UsageError, match="one of given options or has a given form, not both"):
        GenerationOptions(typed=TypedOptions.yes_no(), structured=forms[0])


# What the library takes for each by itself.
HOSTILE: dict[str, Any] = {
    "10 s and 420 MB": {"type": "number", "multipleOf": 999983},
    "1 GB": {"enum": ["a" * 900_000]},
    "9 s": {
        "type": "object",
        "patternProperties": {f"^(a|b)*{number}$": {"type": "integer"} for number in range(300)},
    },
    "6 s": {"type": "object", "properties": {f"p{n}": {"type": "string"} for n in range(6000)}},
}


@pytest.mark.skipif(sys.platform != "linux", reason="limits of time and memory of Linux")
@pytest.mark.parametrize("schema", HOSTILE.values(), ids=HOSTILE)
def test_what_takes_the_library_too_much_is_refused(schema: dict[str, Any]) -> None:
    began, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UsageError, match=r"takes more than 0\.5 s or 128 MiB to compile: shorten"):
        StructuredOutput.from_schema(schema)
    assert time.process_time() - began < 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 * 1024


def test_a_form_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    form = form_of(tried_once="string")
    monkeypatch.setattr(isolated, "Isolated", lambda *_: pytest.fail("tried again"))
    assert form_of(tried_once="string") == form


@pytest.mark.skipif(sys.platform != "linux", reason="signals of Linux")
@pytest.mark.parametrize("name", ["SIGKILL", "SIGSTOP"])
def test_what_the_machine_is_to_blame_for_is_forgotten(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready, harm = Isolated.await_ready, getattr(signal, name)
    with monkeypatch.context() as patched:
        patched.setattr(Isolated, "await_ready", lambda p: (ready(p), os.kill(p.pid, harm)))
        patched.setattr(structured_output, "_LATE_S", 0.1)
        with pytest.raises(DycokeError, match=r"killed, or took over 0\.1 s, as on a busy machine"):
            form_of(**{name: "string"})
    form_of(**{name: "string"})


def test_no_reason_names_an_option_of_the_library() -> None:
    schema = {"oneOf": [{"type": "string"}, {"type": "string", "maxLength": 3}]}
    with pytest.raises(UsageError, match=r"not supported\. In place of oneOf use anyOf$"):
        StructuredOutput.from_schema(schema)


@pytest.mark.skipif(sys.platform != "linux", reason="read from /proc")
def test_the_process_is_sealed_before_it_has_a_form() -> None:
    process = Isolated(structured_output.PROCESS, structured_output.PREPARE)
    try:
        process.await_ready()
        assert_sealed(process.pid)
        limits = Path(f"/proc/{process.pid}/limits").read_text()
    finally:
        process.stop()
    assert not re.search(r"Max address space +unlimited", limits)


def test_a_process_that_cannot_start_blames_no_form(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(structured_output, "PROCESS", "dycoke_cli.engine.structured_output:nothing")
    with pytest.raises(DycokeError, match="the process that compiles forms of answers can't start"):
        form_of(never_tried="string")
