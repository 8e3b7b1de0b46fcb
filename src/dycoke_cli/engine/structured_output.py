"""Form that an answer's text is held to; importing this imports neither torch nor llguidance.

The library is llguidance: its grammars are compiled from JSON Schema, regular expressions, Lark or
llama.cpp's GBNF, and what it can't do is an error rather than ignored.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from dycoke_cli.answer.json_bounds import Bounds, BoundsError
from dycoke_cli.engine.field_types import schema_of_fields
from dycoke_cli.errors import UsageError
from dycoke_cli.extras import need
from dycoke_cli.unicode import display_name

# The library reads a schema recursively: a deeper one could end the process.
_BOUNDS = Bounds(nbytes=1 << 20, values=20_000, depth=64)
_MOST_CHARACTERS = 1 << 16
_SHOWN = 300  # characters of the library's reason, which may repeat the whole form
# As `json.dumps` writes it: other white space costs tokens, and a weak model repeats it for ever.
_LAYOUT: Any = {
    "whitespace_flexible": False,
    "item_separator": ", ",
    "key_separator": ": ",
    "lenient": False,
}
_KEYWORDS_OF_SCHEMAS = ("properties", "patternProperties")
_KEYWORDS_OF_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_KEYWORDS_OF_ONE = ("items", "additionalProperties")


@dataclass(frozen=True)
class StructuredOutput:
    """Form of an answer's text; no token that would leave it can be generated.

    Args:
        kind: what `definition` is. "grammar" is Lark or GBNF; "text" is Lark of a free text, parts
            of which have a form.
        definition: a JSON Schema as JSON, a regular expression, or a grammar.

    Raises:
        UsageError: the library can't follow it (with the part of a schema), or it is too large.
        ModelError: the library isn't installed.
    """

    kind: Literal["json", "regex", "grammar", "text"]
    definition: str

    def __post_init__(self) -> None:
        need("llguidance", "schema", "an answer of a given form")
        if self.kind == "json":
            _check_schema(self.definition)
            return
        what = "regular expression" if self.kind == "regex" else "grammar"
        if self.kind != "text" and len(self.definition) > _MOST_CHARACTERS:
            raise UsageError(f"the {what} has more than {_MOST_CHARACTERS} characters")
        if reason := _refusal(self.grammar()):
            raise UsageError(f"the {what} can't be followed: {reason}")

    @classmethod
    def from_schema(cls, schema: Mapping[str, Any]) -> Self:
        """An answer that is JSON of a schema (JSON Schema, draft 2020-12).

        Raises: see the class.
        """
        return cls("json", json.dumps(schema))

    @classmethod
    def from_fields(cls, fields: str) -> Self:
        """An answer that is an object with these fields, as in "colour:str,times:[float]".

        Raises:
            UsageError: see `schema_of_fields`.
        """
        return cls.from_schema(schema_of_fields(fields))

    @classmethod
    def from_file(cls, path: str) -> Self:
        """An answer that is JSON of the schema in a file.

        Raises:
            UsageError: it can't be read, or isn't JSON; or see the class.
        """
        name = f"--schema {display_name(path)}"
        try:
            with open(path, "rb") as file:
                content = file.read(_BOUNDS.nbytes + 1)
            _BOUNDS.check(content)
            schema = json.loads(content.decode("utf-8-sig"))
        except OSError as error:
            raise UsageError(f"{name} can't be read: {error.strerror}") from error
        except BoundsError as error:
            raise UsageError(f"{name} is no schema: {error}") from error
        except ValueError as error:
            raise UsageError(f"{name} isn't JSON: {error}") from error
        if not isinstance(schema, dict):
            raise UsageError(f"{name} is no schema: it must be a JSON object, as in {_EXAMPLE}")
        return cls.from_schema(schema)

    @property
    def is_whole(self) -> bool:
        """Whether all of the answer is of the form, and ends with it; else it ends as free text."""
        return self.kind != "text"

    @property
    def properties(self) -> tuple[str, ...]:
        """Names of the object's properties; none if the answer needn't be such an object."""
        if self.kind != "json":
            return ()
        return tuple(json.loads(self.definition).get("properties", ()))

    def grammar(self) -> str:
        """The form in the library's notation.

        Raises:
            UsageError: a grammar is neither Lark nor GBNF.
        """
        from llguidance import LLMatcher

        if self.kind == "json":
            return LLMatcher.grammar_from_json_schema(self.definition, overrides=_LAYOUT)
        if self.kind == "regex":
            return LLMatcher.grammar_from_regex(self.definition)
        if self.kind == "text":
            return LLMatcher.grammar_from_lark(self.definition)
        from llguidance.gbnf_to_lark import any_to_lark

        try:
            return LLMatcher.grammar_from_lark(any_to_lark(self.definition))
        except Exception as error:  # what its parser raises is an Exception
            reason = " ".join(str(error).split())[:_SHOWN]
            raise UsageError(f"the grammar is neither Lark nor GBNF: {reason}") from error

    @property
    def as_part(self) -> str:
        """A JSON Schema with the layout of its text, as a grammar has it behind `%json`."""
        return json.dumps({**json.loads(self.definition), "x-guidance": _LAYOUT})

    def shortest(self) -> str:
        """A text no longer than the shortest answer; "" where that isn't known."""
        if self.kind != "json":
            return ""
        schema = json.loads(self.definition)
        return _shortest(schema, schema, _BOUNDS.depth)

    @staticmethod
    def value(text: str) -> Any:
        """The JSON value of an answer; numbers beyond the range of a float become its limits."""
        # JSON has no infinity: `1e999` would come out as one, which no JSON writer takes.
        return json.loads(text, parse_float=_finite)


_EXAMPLE = '{"type": "object", "properties": {"colour": {"type": "string"}}}'
_LARGEST = sys.float_info.max


def _finite(number: str) -> float:
    return max(-_LARGEST, min(float(number), _LARGEST))


def _refusal(grammar: str) -> str:
    """Why the library can't follow a grammar, on one line; empty where it can."""
    from llguidance import LLMatcher

    is_error, messages = LLMatcher.validate_grammar_with_warnings(grammar)
    return " ".join(messages[0].split())[:_SHOWN] if is_error else ""


def _check_schema(definition: str) -> None:
    """Check that the library can follow a schema.

    Raises:
        UsageError: with the innermost part that it can't.
    """
    from llguidance import LLMatcher

    try:
        _BOUNDS.check(definition.encode())
        schema = json.loads(definition)
    except ValueError as error:
        raise UsageError(f"the schema can't be followed: {error}") from error
    if not isinstance(schema, dict):
        raise UsageError(f"the schema must be a JSON object, as in {_EXAMPLE}")

    def refusal(part: Any) -> str:
        return _refusal(LLMatcher.grammar_from_json_schema(json.dumps(part), overrides=_LAYOUT))

    reason, path, part = refusal(schema), "#", schema
    if not reason:
        return
    shared = {name: schema[name] for name in ("$defs", "definitions") if name in schema}
    passed = {path}

    def narrowed() -> tuple[str, str, Any] | None:
        """The first part of this part that is refused alone."""
        for place, inner in _parts(part, path, schema):
            if place not in passed and isinstance(inner, dict) and inner.get("$ref") not in passed:
                passed.add(place)
                if why := refusal(shared | inner):
                    return why, place, inner
        return None

    while (inner := narrowed()) is not None:
        reason, path, part = inner
    raise UsageError(f"the schema can't be followed at {path}: {reason}")


def _parts(
    part: Mapping[str, Any], path: str, schema: Mapping[str, Any]
) -> Iterator[tuple[str, Any]]:
    """The schemas inside a part of a schema, and the one that it refers to, each with its place."""
    if isinstance(reference := part.get("$ref"), str):
        yield reference, _resolved(reference, schema)
    for keyword in _KEYWORDS_OF_SCHEMAS:
        if isinstance(found := part.get(keyword), dict):
            yield from ((f"{path}/{keyword}/{name}", one) for name, one in found.items())
    for keyword in _KEYWORDS_OF_LISTS:
        if isinstance(found := part.get(keyword), list):
            yield from ((f"{path}/{keyword}/{number}", one) for number, one in enumerate(found))
    for keyword in _KEYWORDS_OF_ONE:
        yield f"{path}/{keyword}", part.get(keyword)


def _shortest(schema: Any, root: Mapping[str, Any], depth: int) -> str:
    """A shortest JSON text of a schema; what isn't known counts as nothing.

    Args:
        schema: a part of `root`.
        root: which references are relative to.
        depth: of nested parts that are followed.
    """
    if not isinstance(schema, dict) or not depth:
        return ""

    def within(part: Any) -> str:
        return _shortest(part, root, depth - 1)

    if "const" in schema:
        return json.dumps(schema["const"])
    if "enum" in schema:
        return min(map(json.dumps, schema["enum"]), key=len, default="")
    if "$ref" in schema:
        return within(_resolved(schema["$ref"], root))
    for keyword in ("anyOf", "oneOf"):
        if keyword in schema:
            return min(map(within, schema[keyword]), key=len, default="")
    if "allOf" in schema:
        return max(map(within, schema["allOf"]), key=len, default="")
    types = schema.get("type")
    kinds: Sequence[Any] = types if isinstance(types, list) else [types]
    return min((_shortest_of(kind, schema, within) for kind in kinds), key=len, default="")


def _shortest_of(kind: Any, schema: Mapping[str, Any], within: Any) -> str:
    if kind == "object":
        properties = schema.get("properties", {})
        pairs = [
            f"{json.dumps(name)}: {within(properties.get(name))}"
            for name in schema.get("required", ())
        ]
        return f"{{{', '.join(pairs)}}}"
    if kind == "array":
        first = schema.get("prefixItems", ())
        count = schema.get("minItems", 0)
        items = [*first[:count], *[schema.get("items")] * (count - len(first))]
        return f"[{', '.join(map(within, items))}]"
    if kind == "string":
        return json.dumps("a" * schema.get("minLength", 0))
    return {"integer": "0", "number": "0", "boolean": "true", "null": "null"}.get(kind, "")


def _resolved(reference: str, root: Mapping[str, Any]) -> Any:
    """The part that "#/$defs/name" refers to; None for another notation."""
    part: Any = root
    for key in reference.removeprefix("#").split("/")[1:]:
        name = key.replace("~1", "/").replace("~0", "~")
        part = part.get(name) if isinstance(part, dict) else None
    return part
