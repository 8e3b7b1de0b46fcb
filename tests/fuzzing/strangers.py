"""What strangers send whole: forms of answers, calls of an agent's program, and data URLs."""

from __future__ import annotations

import io
import json
from base64 import b64encode
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from dycoke_cli.errors import UsageError
from dycoke_cli.unicode import one_line
from tests.fuzzing.foreign import as_json, is_json, refusing
from tests.fuzzing.mutators import json_of, text_of
from tests.fuzzing.subject import Subject
from tests.fuzzing.videos import check

_VIDEOS = Path(__file__).parents[2] / "sample_videos"
_AN_INTEGER = {"type": "integer", "minimum": -3, "maximum": 700, "multipleOf": 7}
_SCHEMAS: tuple[dict[str, Any], ...] = (
    {
        "type": "object",
        "properties": {
            "colour": {"enum": ["red", "doré", None]},
            "times": {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 9},
            "name": {"type": "string", "minLength": 3, "maxLength": 40},
            "code": {"type": "string", "pattern": "^[A-Z]{2,5}(-[0-9]+)*$"},
        },
        "required": ["colour", "times"],
        "additionalProperties": False,
    },
    {
        "$ref": "#/$defs/tree",
        "$defs": {
            "tree": {
                "anyOf": [
                    {"type": "null"},
                    {
                        "type": "object",
                        "properties": {"a": {"$ref": "#/$defs/tree"}, "b": _AN_INTEGER},
                        "required": ["a", "b"],
                    },
                ]
            }
        },
    },
    {"allOf": [{"type": ["string", "integer"]}, {"const": 7}], "oneOf": [{"type": "integer"}]},
    {"type": "array", "prefixItems": [{"const": "a"}, {"format": "date"}], "items": _AN_INTEGER},
)
_GRAMMARS = (  # and a regular expression
    r"(red|blue){1,3} [a-z]+\.",
    'start: item+\nitem: "a" NUMBER ","\nNUMBER: /[0-9]{1,9}/',
    'root ::= ("yes" | "no") ws\nws ::= [ \\t\\n]{0,3}',
    'start: %json {"type": "integer"}',
)


def _follow_schema(content: bytes, _: Path) -> object:
    from dycoke_cli.engine.structured_output import StructuredOutput

    return StructuredOutput("json", content.decode("utf-8", "replace")).grammar()


def _follow_grammar(content: bytes, _: Path) -> object:
    from dycoke_cli.engine.structured_output import StructuredOutput

    text = content.decode("utf-8", "surrogateescape")
    kind: Any = "grammar" if "start" in text or "root" in text else "regex"
    return StructuredOutput(kind, text).grammar()


def _calls() -> list[bytes]:
    part = {"start": 0.5, "end": 2.5}
    asked = {"video": "move.mp4", "question": "What moves?"}
    calls = {
        "ask_video": {**asked, **part, "choices": ["star", "cross"], "frames": 4},
        "when": {**asked, **part, "every": 0.5, "frames": 2, "method": "dycoke:merge_ratio=0.7"},
        "probe_video": {"video": "move.mp4", **part},
        "frames": {"video": "turn.mp4", **part, "count": 2},
    }
    written = {**asked, "schema": _SCHEMAS[2]}
    named = [*calls.items(), ("ask_video", written)]
    messages = [{"name": name, "arguments": given} for name, given in named]
    head = {"jsonrpc": "2.0", "id": 7, "method": "tools/call"}
    return as_json(*({**head, "params": params} for params in messages))


@cache
def _server() -> Any:
    """The tools of `dycoke mcp`, whose model would rather say no."""
    from dycoke_cli.answer.answer import Answer, Scoring
    from dycoke_cli.server import video_tools
    from dycoke_cli.server.mcp_server import make_mcp_server
    from tests.documents import example
    from tests.server.pretended import DEFAULTS

    probabilities = {"yes": 0.25, "no": 0.75}
    scoring = example(Scoring, mass=0.75)
    answer = example(Answer, choice="no", probabilities=probabilities, scoring=scoring)
    engine: Any = SimpleNamespace(call=lambda work: None)
    tools = video_tools.VideoTools([_VIDEOS], DEFAULTS, engine, 16)
    patch.object(video_tools, "_answered", lambda *_: answer).start()  # as long as the process
    return make_mcp_server(tools, "sample_videos")


def _call(content: bytes, _: Path) -> object:
    """The result of a message that is a call."""
    import anyio
    from mcp import Client, MCPError
    from mcp.types import jsonrpc_message_adapter
    from pydantic import ValidationError

    try:
        message = jsonrpc_message_adapter.validate_json(content)
    except ValidationError as error:
        raise UsageError("no message") from error
    params = getattr(message, "params", None)
    name, given = (params.get("name"), params.get("arguments")) if params else (None, None)
    if not isinstance(name, str) or not isinstance(given, dict | None):
        raise UsageError("no call")

    async def calling() -> Any:
        async with Client(_server()) as client:
            return await client.call_tool(name, given)

    try:
        result = anyio.run(calling)
    except MCPError as error:
        raise UsageError(str(error)) from error
    is_json(result.model_dump(mode="json"))
    if result.is_error:
        text = result.content[0].text
        assert "something went wrong" not in text, text
        raise UsageError(one_line(text.partition("\n")[0]))
    return result


def _data_urls() -> list[bytes]:
    from PIL import Image

    def url(kind: str, *contents: bytes) -> bytes:
        return (
            f"data:{kind};base64,{','.join(b64encode(one).decode() for one in contents)}".encode()
        )

    pictures = [io.BytesIO() for _ in range(2)]
    for picture, colour in zip(pictures, ("red", "blue"), strict=True):
        Image.new("RGB", (16, 16), colour).save(picture, "JPEG")
    jpegs = [picture.getvalue() for picture in pictures]
    video = (_VIDEOS / "move.mp4").read_bytes()
    return [url("video/mp4", video), url("video/jpeg", *jpegs), url("image/jpeg", jpegs[0])]


def _open(content: bytes, _: Path) -> object:
    """The frames of a data URL, as it stands in a body that comes in pieces."""
    from dycoke_cli.server.limits import Allowance
    from dycoke_cli.server.media import Media, opened
    from dycoke_cli.server.request_body import BodyLimits, BodyScanner, parse_json
    from dycoke_cli.server.request_keys import text_of as text_in
    from dycoke_cli.video.decoder import Decoder
    from dycoke_cli.video.sampling import Sampling

    text = json.dumps(content.decode("utf-8", "surrogateescape")).encode()
    body = b'{"url": %s}' % text
    with ExitStack() as stack:
        scanner = BodyScanner(BodyLimits(most_bytes=1 << 24), stack)
        with refusing():
            for start in range(0, len(body), 5000):
                scanner.feed(body[start : start + 5000])
            url = text_in(parse_json(scanner.json)["url"], "url")
            media = Media(received=scanner.media)
            file = stack.enter_context(opened(url, media, Allowance(10.0, 1 << 26)))
        decoder = stack.enter_context(Decoder())
        clip = decoder.read(file.source, Sampling(frames=2), shown_as=file.name)
        check(clip.frames, clip.timestamps_s)
    return file.digest


SUBJECTS = [
    Subject(
        "schema of an answer", "requests", 800, (), lambda: as_json(*_SCHEMAS), json_of,
        _follow_schema,
    ),
    Subject(
        "grammar of an answer", "requests", 800, (),
        lambda: [text.encode() for text in _GRAMMARS], text_of, _follow_grammar,
    ),
    Subject("call of an agent", "requests", 1500, (), _calls, json_of, _call),
    Subject("data URL", "requests", 1500, (), _data_urls, text_of, _open),
]  # fmt: skip
