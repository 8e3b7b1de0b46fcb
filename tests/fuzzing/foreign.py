"""JSON of others: of clients, servers, decoders, and of files that the cache and settings hold."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from functools import cache, partial
from io import FileIO
from pathlib import Path
from typing import Any

from dycoke_cli.answer.json_schema import to_dict
from dycoke_cli.compression.method import Method
from dycoke_cli.compression.registry import described, restore
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.errors import DycokeError, UsageError
from dycoke_cli.processes.isolated import MAX_MESSAGE_BYTES, Isolated
from dycoke_cli.processes.zygote import GoneError
from dycoke_cli.unicode import to_json
from dycoke_cli.video.decoder import OpenClip
from dycoke_cli.video.limits import Limits
from dycoke_cli.video.sampling import Sampling
from tests.fuzzing.mutators import json_lines_of, json_of
from tests.fuzzing.subject import Subject
from tests.fuzzing.videos import check
from tests.server.pretended import DEFAULTS
from tests.server.requests import MOST, URL

CLIP = str(Path(__file__).parents[2] / "sample_videos" / "move.mp4")
TWO = Sampling(frames=2)
_LENGTH = struct.Struct("<Q")


def as_json(*contents: Any) -> list[bytes]:
    return [json.dumps(content).encode() for content in contents]


def is_json(content: Any) -> None:
    """It can be written, and read by others: without NaN, and whatever its texts."""

    def constant(name: str) -> None:
        raise AssertionError(f"{name} in JSON")

    json.loads(to_json(content).encode(), parse_constant=constant)


@contextmanager
def refusing() -> Iterator[None]:
    """What a server refuses is a response with its sentence."""
    from dycoke_cli.server.refused import Refused

    try:
        yield
    except Refused as error:
        if error.status >= 500:
            raise
        raise UsageError(str(error)) from error


def _requests() -> list[bytes]:
    text = {"type": "text", "text": "What?"}
    videos = (
        {"type": "video_url", "video_url": {"url": URL}},
        {"type": "input_video", "input_video": {"data": "AAAA"}},
        {"type": "video_url", "video_url": "data:video/jpeg;base64,AAAA,BBBB"},
    )
    turns = [{"role": "user", "content": [one, text]} for one in videos]
    told = [{"role": "system", "content": "Be brief."}, turns[0]]
    told += [{"role": "assistant", "content": "A star."}, {"role": "user", "content": "Sure?"}]
    return as_json(
        {"messages": told, "model": "mini", "max_tokens": 8, "temperature": 0.5, "n": 1},
        {
            "messages": [turns[1]],
            "stream": True,
            "stream_options": {"include_usage": True},
            "media_io_kwargs": {"video": {"num_frames": 8, "fps": 2}},
            "mm_processor_kwargs": {"dycoke": "random:retain=0.5"},
            "dycoke": {"method": "random:retain=0.5"},
        },
        {
            "messages": [turns[2]],
            "seed": 7,
            "media_io_kwargs": {"video": {"frames_indices": [0, 9], "fps": 3.0, "duration": 3.5}},
        },
    )


def _parse_request(content: bytes, _: Path) -> object:
    from dycoke_cli.server.chat import parse

    with refusing():
        return parse(content, DEFAULTS, MOST)


def _replies() -> list[bytes]:
    from tests.runs.remote.endpoint import said

    _, reply = said({"model": "seen", "messages": [{"content": [{"text": "it"}]}]})
    seconds = {"load": None, "vision": 0.5, "prefill": 0.1, "decode": 0.2, "total": 0.9}
    tokens = {"visual": 6272, "read": 1881, "generated": 7, "prompt": 140}
    details = {"method": described(Method()), "seed": 3, "tokens": tokens, "seconds": seconds}
    usage = reply["usage"] | {"dycoke": details | {"warnings": ["it is an HDR video"]}}
    return as_json(reply, reply | {"usage": usage})


@cache
def _endpoint() -> tuple[Any, ExitStack]:
    """A server in the process that tries the cases; it ends with that process."""
    from tests.runs.remote.endpoint import serving

    stack = ExitStack()
    return stack.enter_context(serving()), stack


def _ask_server(content: bytes, folder: Path) -> object:
    from dycoke_cli.runs.remote.remote_client import RemoteClient
    from dycoke_cli.runs.remote.served_model import NO_VIDEO, ServedModel, Server

    endpoint, _ = _endpoint()
    endpoint.raw = lambda: iter([content])
    client = RemoteClient(endpoint.url, "NO_KEY")
    model = ServedModel(Server(endpoint.url), "seen", client, sends_method=True)
    options = GenerationOptions(max_tokens=2)
    try:
        answer = model.ask("What?", (), NO_VIDEO, Method(), options)
    except DycokeError as error:  # the client's own sentence about a server that gives no answer
        raise UsageError(str(error)) from error
    is_json(to_dict(answer))
    return answer


class _Recorder:
    """In place of the channel of a decoder: it notes what is sent, and says yes to all."""

    def __init__(self) -> None:
        self.messages, self.raw = list[bytes](), b""

    def send(self, message: dict[str, Any], raw: Any = b"", most_bytes: int = 0) -> None:
        self.messages.append(json.dumps(message).encode())
        self.raw += bytes(raw)

    def receive(self) -> tuple[dict[str, Any], list[int]]:
        return {"go": True}, []


@cache
def _sent() -> _Recorder:
    """What a decoder sends of a clip."""
    from dycoke_cli.video import decoder_process

    recorder: Any = _Recorder()
    request = {"name": "a.mp4", "sampling": asdict(TWO), "subtitles": None, "fitted": False}
    with ExitStack() as stack, FileIO(CLIP) as file:
        decoder_process._read(recorder, request | {"most_pixels": None}, [file], stack)
    return recorder


def _messages() -> list[bytes]:
    sent = _sent().messages
    refused = {"error": {"code": "video_unreadable", "message": "it is torn"}}
    return [b"\n".join(sent), b"\n".join([sent[0], *as_json(refused)])]


class _Said(Isolated):
    """In place of a decoder that was taken over: it sends these lines as its messages."""

    def __init__(self, content: bytes) -> None:
        lines = content.split(b"\n")
        self._left = memoryview(b"".join(_LENGTH.pack(len(one)) + one for one in lines))
        self._raw = memoryview(_sent().raw)
        self._is_message = self._late = False
        self.ready: dict[str, Any] = {}

    def await_ready(self) -> None:
        pass

    def limit(self, **_: Any) -> None:
        pass

    def send(self, *_: Any) -> None:
        pass

    def receive(self, most_bytes: int = MAX_MESSAGE_BYTES) -> dict[str, Any]:
        self._is_message = True
        try:
            return super().receive(most_bytes)
        finally:
            self._is_message = False

    def receive_into(self, buffer: memoryview) -> None:
        if not self._is_message:
            raw, self._raw = self._raw[: len(buffer)], self._raw[len(buffer) :]
            buffer[: len(raw)] = raw
            return
        if len(self._left) < len(buffer):
            raise GoneError(1)
        buffer[:] = self._left[: len(buffer)]
        self._left = self._left[len(buffer) :]

    def stop(self) -> None:
        pass


def _decode(content: bytes, _: Path) -> object:
    said = _Said(content)
    opened = OpenClip(said, said.stop, "a.mp4", Limits(), lambda needed: None)
    opened.begin([], TWO, None)
    clip = opened.read()
    check(clip.frames, clip.timestamps_s)
    is_json(asdict(clip.info))
    is_json([clip.warnings, asdict(clip.subtitles) if clip.subtitles else None])
    return clip.info


def _methods() -> list[bytes]:
    from dycoke_cli.compression.registry import METHODS

    return as_json(*(described(one()) for one in METHODS.values()))


def _restore(content: bytes, _: Path) -> object:
    try:
        stored = json.loads(content)
    except (ValueError, RecursionError) as error:  # who opens the file says so
        raise UsageError("no JSON") from error
    method = restore(stored)
    is_json(described(method))
    return method


_SUBJECTS: tuple[tuple[str, str, Callable[..., Any], Any, Any], ...] = (
    ("of a client of serve", "requests", _requests, json_of, _parse_request),
    ("of a server", "replies", _replies, json_of, _ask_server),
    ("of a decoder", "replies", _messages, json_lines_of, _decode),
    ("stored method", "caches", _methods, json_of, _restore),
)

SUBJECTS = [
    Subject(name, group, 1500, (), seeds, mutate, partial(attempt))
    for name, group, seeds, mutate, attempt in _SUBJECTS
]
