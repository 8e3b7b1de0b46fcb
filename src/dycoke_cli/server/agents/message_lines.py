"""Messages of an agent's program: lines of JSON-RPC on stdin, within limits.

The official package parses lines of any size, and doesn't reply to one that isn't a message: its
sender would wait for ever.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from typing import IO

from mcp.types import (
    INVALID_REQUEST,
    PARSE_ERROR,
    ErrorData,
    JSONRPCError,
    RequestId,
    jsonrpc_message_adapter,
)
from pydantic import ValidationError

from dycoke_cli.answer.json_schema import Bounds, BoundsError

# A schema may have 1 MiB and 64 levels.
_BOUNDS = Bounds(nbytes=(1 << 20) + (1 << 16), values=20_000, depth=80)
_NO_JSON = "Invalid JSON"  # in pydantic's sentence
# Of a line that isn't parsed: at both ends its id is sought, which is behind texts alone, or last.
_ENDS_BYTES = 1024
_TEXT = r'\s*"[^"\\\x00-\x1f]{0,200}"\s*'
_ID = rf'\s*"id"\s*:\s*(-?\d{{1,18}}|{_TEXT})\s*'
_FIRST = re.compile(rf"\s*\{{(?:{_TEXT}:{_TEXT},)*{_ID}[,}}]".encode())
_LAST = re.compile(rf",{_ID}\}}\s*\Z".encode())


class MessageLines(io.TextIOBase):
    """The lines of a stream that are messages. Others are replied to and skipped.

    Args:
        wire: UTF-8.
        reply: sends an error.
    """

    def __init__(self, wire: IO[bytes], reply: Callable[[JSONRPCError], None]) -> None:
        self._wire, self._reply = wire, reply

    def readline(self, size: int | None = -1, /) -> str:  # type: ignore[override]
        """The next message, whatever its size; empty at the end of the stream."""
        while line := self._wire.readline(_BOUNDS.nbytes + 1):
            end = line
            while len(end) > _BOUNDS.nbytes and not end.endswith(b"\n"):
                end = end[-_ENDS_BYTES:] + self._wire.readline(_BOUNDS.nbytes + 1)
            if fault := _fault(line):
                code = PARSE_ERROR if _NO_JSON in fault else INVALID_REQUEST
                error = ErrorData(code=code, message=f"the message {fault}")
                self._reply(JSONRPCError(jsonrpc="2.0", id=_id(line, end), error=error))
            elif line.strip():
                return line.decode("utf-8", "replace")
        return ""


def _fault(line: bytes) -> str:
    """What is wrong with a line, as the rest of a sentence; empty of a message, and of no text."""
    try:
        _BOUNDS.check(line)
        if line.strip():
            jsonrpc_message_adapter.validate_json(line.decode("utf-8", "replace"), by_name=False)
    except BoundsError as error:
        return f"can't be read: {error}"
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        return f"isn't one of JSON-RPC 2.0: {first['msg']}"
    return ""


def _id(line: bytes, end: bytes) -> RequestId | None:
    """The id of what isn't a message, by its first and its last bytes; None for no valid one."""
    found = _FIRST.match(line[:_ENDS_BYTES]) or _LAST.search(end[-_ENDS_BYTES:])
    return json.loads(found[1].decode("utf-8", "replace")) if found else None
