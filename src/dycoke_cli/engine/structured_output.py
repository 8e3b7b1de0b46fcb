"""The form of an answer: a JSON Schema, a regular expression or a grammar."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

from dycoke_cli.answer.json_schema import Bounds, BoundsError
from dycoke_cli.errors import UsageError
from dycoke_cli.extras import need
from dycoke_cli.storage.input_file import read_text
from dycoke_cli.unicode import display_name, is_valid

# The library reads a schema recursively: a deeper one could end the process.
_BOUNDS = Bounds(nbytes=1 << 20, values=20_000, depth=64)
_OF_ANSWERS = Bounds(depth=200)
_MOST_CHARACTERS = 1 << 16
_NAMES = {"json": "schema", "regex": "regular expression", "grammar": "grammar", "text": "grammar"}


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
        from dycoke_cli.engine.form_grammar import refusal

        what = _NAMES[self.kind]
        if self.kind == "json":
            _check_schema(self.definition)
        elif self.kind != "text" and len(self.definition) > _MOST_CHARACTERS:
            raise UsageError(f"the {what} has more than {_MOST_CHARACTERS} characters")
        elif not is_valid(self.definition):
            raise UsageError(f"the {what} isn't Unicode: it has half of a pair of surrogates")
        if reason := refusal(self.kind, self.definition):
            raise UsageError(f"the {what} {reason}")

    @classmethod
    def from_schema(cls, schema: Mapping[str, Any]) -> Self:
        """An answer that is JSON of a schema (JSON Schema, draft 2020-12).

        Raises: see the class.
        """
        try:
            return cls("json", json.dumps(schema))
        except (RecursionError, ValueError) as error:
            if isinstance(error, UsageError):
                raise
            # More levels than Python follows, or a number of thousands of digits.
            raise UsageError(f"the schema can't be followed: {error}") from error

    @classmethod
    def parse(cls, given: str) -> Self:
        """An answer that is JSON of a schema: of JSON text that begins with a brace, or of a file.

        Raises:
            UsageError: it can't be read, or isn't JSON; or see the class.
        """
        name = "--schema"
        try:
            text = given
            if not given.lstrip().startswith("{"):
                name = f"--schema {display_name(given)}"
                text = read_text(given, _BOUNDS.nbytes)
            _BOUNDS.check(text.encode())
            schema = json.loads(text)
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
        """The form in the library's notation."""
        from dycoke_cli.engine.form_grammar import grammar_of

        return grammar_of(self.kind, self.definition)

    @staticmethod
    def value(text: str) -> Any:
        """The JSON value of an answer; numbers beyond the range of a float become its limits.

        Raises:
            ValueError: it isn't JSON, or nested deeper than can be read (`BoundsError`).
        """
        _OF_ANSWERS.check(text.encode())
        # JSON has no infinity: `1e999` would come out as one, which no JSON writer takes.
        return json.loads(text, parse_float=_finite, parse_int=_whole)


_EXAMPLE = '{"type": "object", "properties": {"colour": {"type": "string"}}}'
_LARGEST, _DIGITS = sys.float_info.max, sys.float_info.max_10_exp


def _finite(number: str) -> float:
    return max(-_LARGEST, min(float(number), _LARGEST))


def _whole(number: str) -> float:
    # Python reads no integer of thousands of digits, which a weak model may write.
    return int(number) if len(number) < _DIGITS else _finite(number)


def _check_schema(definition: str) -> None:
    """Check a schema as far as that is done without the library."""
    try:
        _BOUNDS.check(definition.encode("utf-8", "surrogatepass"))
        schema = json.loads(definition)
    except ValueError as error:
        raise UsageError(f"the schema can't be followed: {error}") from error
    if not isinstance(schema, dict):
        raise UsageError(f"the schema must be a JSON object, as in {_EXAMPLE}")
    if not is_valid(json.dumps(schema, ensure_ascii=False)):
        raise UsageError("the schema isn't Unicode: a text in it has half of a pair of surrogates")
