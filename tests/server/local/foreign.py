"""A server that isn't ours, with ours behind it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tests.runs.remote.endpoint import Reply
from tests.server.local.conftest import Served
from tests.server.pretended import Running


def stripped(real: Served) -> Callable[[dict[str, Any]], Reply]:
    """What a server replies that has nothing of ours."""

    def reply(body: dict[str, Any]) -> Reply:
        sent = {key: body[key] for key in body.keys() - {"dycoke", "mm_processor_kwargs"}}
        sent |= {"model": "mini", "stream": False}
        sent.pop("stream_options", None)
        status, answer = post(real, sent)
        answer.get("usage", {}).pop("dycoke", None)
        return status, answer

    return reply


def post(real: Served, body: dict[str, Any], path: str = "chat/completions") -> Reply:
    """A request to the running server."""
    running = Running(real.port, real.pretended, real.service)
    status, _, reply = running.request("POST", f"/v1/{path}", json.dumps(body).encode())
    return status, json.loads(reply)
