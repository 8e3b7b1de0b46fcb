"""Requests to a server, as they are read."""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import Any

from dycoke_cli.ask import Ask
from dycoke_cli.loop.local_engine import Engine
from dycoke_cli.loop.reading import Readers, Reading
from dycoke_cli.server import responses
from dycoke_cli.server.chat import ChatRequest, parse
from dycoke_cli.server.exchange import prepare
from dycoke_cli.server.limits import Allowance
from dycoke_cli.server.metrics import Metrics
from dycoke_cli.video.clip import Clip
from dycoke_cli.video.limits import Limits
from tests.cli.fake_engine import PATIENCE_S
from tests.server.pretended import DEFAULTS, make_service

MOST = 100


URL = "data:video/mp4;base64,AAAA"


def read(messages: Any, most: int = MOST, **more: Any) -> ChatRequest:
    return parse(json.dumps({"messages": messages, **more}).encode(), DEFAULTS, most)


def about(*parts: dict[str, Any], **more: Any) -> ChatRequest:
    text = {"type": "text", "text": "What?"}
    return read([{"role": "user", "content": [*parts, text]}], **more)


def read_responses(given: Any, **more: Any) -> ChatRequest:
    body = json.dumps({"input": given, **more}).encode()
    return parse(body, DEFAULTS, MOST, responses.read_responses)


def ask_of(request: ChatRequest, files: ExitStack, pixels: int = 2**40) -> Ask:
    """The question to the engine, whose videos are there as long as the files."""
    service = make_service(Engine(DEFAULTS), Metrics())
    return prepare(request, service, {}, files, Allowance(PATIENCE_S, pixels))


def clips_of(request: ChatRequest, pixels: int = 2**40) -> tuple[Clip, ...]:
    """The frames that the model is given; those of each video may have so many pixels."""
    with ExitStack() as files:
        reading = Reading(ask_of(request, files, pixels), decoded=True, urgent=True)
        readers = Readers(Limits(), lambda _: None, lambda _: None, lambda _: None)
        files.callback(readers.close)
        readers.read(reading)
        reading.wait()
    return reading.clips
