"""Lines on stdin of `dycoke mcp`: what isn't a message has a reply, and takes little memory."""

from __future__ import annotations

import io
import json
import sys
import time
import tracemalloc
from typing import Any

import anyio
import pytest
from mcp.types import JSONRPCError

from dycoke_cli.server.agents.mcp_server import make_mcp_server
from dycoke_cli.server.agents.message_lines import MessageLines

CALL = '{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"a":%s}}'
LARGE = "[" + "[]," * 6_000_000 + "1]"


def read(*lines: str | bytes) -> tuple[list[str], list[JSONRPCError]]:
    """The messages of some lines, and what was replied to the others."""
    replies = list[JSONRPCError]()
    content = [line.encode() if isinstance(line, str) else line for line in lines]
    reader = MessageLines(io.BytesIO(b"\n".join(content)), replies.append)
    return [*iter(reader.readline, "")], replies


@pytest.mark.parametrize(
    ("line", "number", "sentence"),
    [
        (CALL % r'"\ud800"', 7, "isn't one of JSON-RPC 2.0: Invalid JSON"),
        (CALL % "", 7, "isn't one of JSON-RPC 2.0: Invalid JSON"),
        (CALL % LARGE, 7, "can't be read: it is larger than"),
        ("{bad json", None, "isn't one of JSON-RPC 2.0: Invalid JSON"),
        (CALL % ("[" + "1," * 20_000 + "1]"), 7, "can't be read: it has more than 20,000 values"),
        (CALL % ("[" * 81 + "]" * 81), 7, "can't be read: it is nested more than 80 deep"),
        ('{"method":"a","id":"b c","params":{"a":"\\ud800","id":3}}', "b c", "isn't one"),
        ('{"method":"a","params":{"a":"\\ud800","id":3},"jsonrpc":"2.0","id":9}\n', 9, "isn't one"),
        ('{"method":"a","params":{"a":"\\ud800","b":1,"id":3}}', None, "isn't one"),
        ('{"id":1,"method":5}', 1, "isn't one"),
        ("5", None, "isn't one"),
        (b"\xff", None, "isn't one"),
    ],
)  # fmt: skip
def test_what_is_no_message_has_a_reply(
    line: str | bytes, number: int | str | None, sentence: str
) -> None:
    sound = CALL % '"é"'
    messages, [reply] = read(sound, line, "", sound)
    assert [message.strip() for message in messages] == [sound, sound]
    code = -32700 if "Invalid JSON" in reply.error.message else -32600
    assert (reply.id, reply.error.code) == (number, code)
    assert f"the message {sentence}" in reply.error.message
    json.loads(reply.model_dump_json())


def test_a_line_of_any_size_takes_little_memory() -> None:
    line = (CALL % LARGE).encode()
    tracemalloc.start()
    try:
        reader = MessageLines(io.BytesIO(line), lambda _: None)
        assert reader.readline() == ""
        assert tracemalloc.get_traced_memory()[1] < len(line) + 10 * 2**20
    finally:
        tracemalloc.stop()


def test_the_server_goes_on_behind_a_line_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = '{"jsonrpc":"2.0","id":8,"method":"ping"}\n'
    hello: dict[str, Any] = {"protocolVersion": "2025-06-18", "capabilities": {}}
    hello["clientInfo"] = {"name": "a", "version": "1"}
    first = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": hello}
    told = json.dumps(first) + '\n{"jsonrpc":"2.0","method":"notifications/initialized"}\n'
    taken = io.BytesIO()
    sent = [line.encode() for line in (told + CALL % r'"\ud800"' + "\n" + asked).splitlines(True)]

    class Client(io.BytesIO):
        """It closes its end when it has a reply to each of the three: what comes later is lost."""

        def readline(self, size: int | None = -1, /) -> bytes:
            until = time.monotonic() + 60
            while not sent and taken.getvalue().count(b"\n") < 3 and time.monotonic() < until:
                time.sleep(0.01)
            return sent.pop(0) if sent else b""

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(Client()))
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(taken))
    tools: Any = None
    anyio.run(make_mcp_server(tools, "a folder").run_stdio_async)
    replies = {reply["id"]: reply for reply in map(json.loads, taken.getvalue().splitlines())}
    assert replies.keys() == {0, 7, 8}
    assert replies[7]["error"]["code"] == -32700
    assert "result" in replies[8]
