"""The form of a request's answer: one of given options, JSON, a regular expression or a grammar."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from dycoke_cli.engine.structured_output import StructuredOutput
from dycoke_cli.engine.typed_options import OpenNumber, TypedOptions
from dycoke_cli.errors import UsageError
from dycoke_cli.server.refused import Refused
from dycoke_cli.server.request_keys import (
    FORMS,
    JSON_SCHEMA,
    RESPONSE_FORMAT,
    flag_of,
    list_of,
    text_of,
)

_KINDS = ("json", "regex", "grammar")
_ANY_OBJECT = '{"type": "object"}'


def answer_format(
    body: Mapping[str, Any], structured: Mapping[str, Any], own: Mapping[str, Any]
) -> dict[str, Any]:
    """The fields of `GenerationOptions` that say what an answer may be; none for free text.

    Args:
        body: of the request, with OpenAI's `response_format`, vLLM's older
            `guided_choice`, and `FORMS`.
    """
    typed = _typed(body, structured)
    number = flag_of(own, "number")
    forms = [
        *_response_format(body.get("response_format")),
        *_structured(structured, body),
    ]
    paths = [
        *(["structured_outputs.choice"] if typed else []),
        *(path for path, _, _ in forms),
        *(["dycoke.number"] if number else []),
    ]
    if len(paths) > 1:
        raise Refused(400, f"send {paths[0]} or {paths[1]}, not both", parameter=paths[1])
    if number:
        return {"typed": OpenNumber()}
    if typed is not None:
        return {"typed": typed}
    for path, kind, definition in forms:
        try:
            return {"structured": StructuredOutput(kind, definition)}
        except UsageError as error:
            raise Refused(400, f"{path}: {error}", parameter=path) from error
    return {}


_Form = tuple[str, Any, str]
"""Path of a form in the request, and the fields of `StructuredOutput`."""


def _response_format(given: Any) -> Iterator[_Form]:
    if given is None:
        return
    path = RESPONSE_FORMAT.name
    found = RESPONSE_FORMAT.object(given, path)
    # llama.cpp has the schema beside the type, as /v1/responses has.
    if found.get("type") == "json_schema" and found.get("schema") is None:
        path, inner = JSON_SCHEMA.name, found.get("json_schema")
        found = {"type": "json_schema", **JSON_SCHEMA.object(inner, path)}
    yield from _of_type(found, path)


def _of_type(found: Mapping[str, Any], path: str) -> Iterator[_Form]:
    """A form by its type, with the schema beside it."""
    kind, schema = found.get("type"), found.get("schema")
    if kind not in ("text", "json_object", "json_schema"):
        raise Refused(
            400,
            f"{path}.type must be text, json_object or json_schema",
            parameter=f"{path}.type",
        )
    if kind == "json_schema" or (kind == "json_object" and schema is not None):
        path = f"{path}.schema"
        yield path, "json", _schema(schema, path)
    elif kind == "json_object":
        yield path, "json", _ANY_OBJECT


def _structured(given: Mapping[str, Any], body: Mapping[str, Any]) -> Iterator[_Form]:
    if flag_of(given, "json_object"):
        yield "structured_outputs.json_object", "json", _ANY_OBJECT
    own = ((f"structured_outputs.{kind}", kind, given.get(kind)) for kind in _KINDS)
    others = ((key, kind, body.get(key)) for key, kind in FORMS.items())
    for path, kind, form in (*own, *others):
        if form not in (None, ""):
            read = _schema if kind == "json" else text_of
            yield path, kind, read(form, path)


def _schema(given: Any, path: str) -> str:
    """A schema, as an object or as JSON."""
    return text_of(given, path) if isinstance(given, str) else json.dumps(given)


def _typed(body: Mapping[str, Any], structured: Mapping[str, Any]) -> TypedOptions | None:
    """The options of the answer, in vLLM's spelling or in its older one; None for any answer."""
    newer, older = structured.get("choice"), body.get("guided_choice")
    path = "guided_choice" if newer is None else "structured_outputs.choice"
    if newer is None and older is None:
        return None
    if None not in (newer, older) and newer != older:
        raise Refused(
            400,
            "structured_outputs.choice and guided_choice differ: send one of them",
            parameter="guided_choice",
        )
    texts = list_of(older if newer is None else newer, path)
    options = tuple(text_of(text, f"{path}[{number}]") for number, text in enumerate(texts))
    return TypedOptions(options)
