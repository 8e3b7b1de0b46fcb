"""Bodies of requests, read within limits of size and time; replies in JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from dycoke_cli.answer.json_schema import Bounds, BoundsError
from dycoke_cli.server.refused import Refused
from dycoke_cli.unicode import display_name, to_json

# A schema may have 64 levels.
_BOUNDS = Bounds(depth=80)


def check_declared(http: Request, most: int) -> None:
    """Check the type and length of a body, as far as its header tells."""
    if http.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Refused(415, "the body must be JSON (Content-Type: application/json)")
    coding = http.headers.get("content-encoding", "identity").strip().lower()
    if coding != "identity":
        shown = display_name(coding)[:100]
        raise Refused(415, f"the body must not be compressed (Content-Encoding: {shown})")
    length = http.headers.get("content-length", "")
    if length.isdecimal() and (len(length) > 18 or int(length) > most):
        raise too_long(most)


def parse_json(body: bytes) -> Any:
    """The JSON value of a body."""
    try:
        _BOUNDS.check(body)
        return json.loads(body, object_pairs_hook=_object)
    except BoundsError as error:
        raise Refused(400, f"the body can't be read: {error}") from error
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise Refused(400, f"the body isn't JSON: {error.msg} at {where}") from error
    except ValueError as error:
        raise Refused(400, "the body isn't JSON") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        twice = next(name for name, count in counts.items() if count > 1)
        raise Refused(400, f"the body has the key {display_name(twice)[:100]} twice in one object")
    return found


def json_reply(
    document: dict[str, Any], status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """A reply with a JSON object."""
    return Response(to_json(document), status, headers, "application/json")


def too_long(most: int) -> Refused:
    """The refusal of a body of more than so many bytes."""
    return Refused(413, f"the body is larger than {most / 1024**2:.0f} MiB", "too_large")
