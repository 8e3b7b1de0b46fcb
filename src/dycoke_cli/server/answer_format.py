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
    JSON_SCHEMA,
    RESPONSE_FORMAT,
    TEXT,
    TEXT_FORMAT,
    flag_of,
    list_of,
    text_of,
)

_ANY_OBJECT = '{"type": "object"}'


def answer_format(
    body: Mapping[str, Any], structured: Mapping[str, Any], own: Mapping[str, Any]
) -> dict[str, Any]:
    """The fields of `GenerationOptions` that say what an answer may be; none for free text.

    Args:
        body: of the request, with OpenAI's `response_format` (`text` in /v1/responses) and vLLM's
            older `guided_choice`.
    """
    typed = _typed(body, structured)
    number = flag_of(own, "number")
    forms = [
        *_response_format(body.get("response_format")),
        *_text(body.get("text")),
        *_structured(structured),
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
    found = RESPONSE_FORMAT.object(given, RESPONSE_FORMAT.name)
    if _has_schema(found, RESPONSE_FORMAT.name):
        inner = JSON_SCHEMA.object(found.get("json_schema"), JSON_SCHEMA.name)
        yield _schema(inner.get("schema"), f"{JSON_SCHEMA.name}.schema")
    elif found["type"] == "json_object":
        yield RESPONSE_FORMAT.name, "json", _ANY_OBJECT


def _text(given: Any) -> Iterator[_Form]:
    """The form of /v1/responses, whose schema is beside its type."""
    if given is None or (given := TEXT.object(given, TEXT.name).get("format")) is None:
        return
    found = TEXT_FORMAT.object(given, TEXT_FORMAT.name)
    if _has_schema(found, TEXT_FORMAT.name):
        yield _schema(found.get("schema"), f"{TEXT_FORMAT.name}.schema")
    elif found["type"] == "json_object":
        yield TEXT_FORMAT.name, "json", _ANY_OBJECT


def _has_schema(found: Mapping[str, Any], path: str) -> bool:
    """Whether the form is a schema."""
    if found.get("type") not in ("text", "json_object", "json_schema"):
        raise Refused(
            400,
            f"{path}.type must be text, json_object or json_schema",
            parameter=f"{path}.type",
        )
    return bool(found["type"] == "json_schema")


def _structured(given: Mapping[str, Any]) -> Iterator[_Form]:
    if flag_of(given, "json_object"):
        yield "structured_outputs.json_object", "json", _ANY_OBJECT
    if given.get("json") is not None:
        yield _schema(given["json"], "structured_outputs.json")
    for kind in ("regex", "grammar"):
        if given.get(kind) is not None:
            path = f"structured_outputs.{kind}"
            yield path, kind, text_of(given[kind], path)


def _schema(given: Any, path: str) -> _Form:
    """A schema, as an object or as JSON."""
    if isinstance(given, str):
        return path, "json", text_of(given, path)
    return path, "json", json.dumps(given)


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
