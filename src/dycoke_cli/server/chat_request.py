"""The body of a request to /v1/chat/completions: what it asks, checked; nothing is opened here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from dycoke_cli.compression.base import Method
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.errors import UsageError
from dycoke_cli.evaluation.method_specs import parse_spec
from dycoke_cli.request import Request
from dycoke_cli.server.answer_format import answer_format
from dycoke_cli.server.bodies import parse_json
from dycoke_cli.server.media_options import FrameTimes, read_media
from dycoke_cli.server.refused import Refused
from dycoke_cli.server.request_keys import (
    BODY,
    DYCOKE,
    INPUT_VIDEO,
    MESSAGES,
    MM_PROCESSOR,
    PARTS,
    STREAM_OPTIONS,
    STRUCTURED,
    VIDEO_URL,
    Keys,
    flag_of,
    list_of,
    object_of,
    text_of,
)
from dycoke_cli.video.sampling import Sampling

_MOST_MESSAGES = 1000
_MOST_VIDEOS = 16
_LONGEST_METHOD = 1000
_JPEGS = "data:video/jpeg;"


@dataclass(frozen=True)
class VideoPart:
    """A video of a message.

    Args:
        url: data:, file: or http(s):; None where the handle alone names it.
        uuid: a handle of the client's choice for the encoded video.
    """

    url: str | None
    uuid: str | None = None

    @property
    def is_frames(self) -> bool:
        """Whether it is a list of JPEGs, which have no time of their own."""
        return self.url is not None and self.url[: len(_JPEGS)].lower() == _JPEGS


@dataclass(frozen=True)
class ChatRequest:
    """A question about videos, or about none.

    Args:
        videos: of all turns, in order; they are shown before the first.
        question: the last turn.
        history: earlier questions with their answers.
        sampling: which frames are read.
        method: which visual tokens are dropped.
        generation: how the answer is generated.
        stream: whether the answer is sent while it is generated.
        include_usage: whether a stream ends with the figures.
        against: the method that is shown beside it, where both are inspected.
        times: of the videos that are lists of JPEGs.
    """

    videos: tuple[VideoPart, ...]
    question: str
    history: tuple[tuple[str, str], ...]
    sampling: Sampling
    method: Method
    generation: GenerationOptions
    stream: bool
    include_usage: bool
    against: Method | None = None
    times: FrameTimes = field(default_factory=FrameTimes)


def parse(body: bytes, defaults: Request, most_frames: int) -> ChatRequest:
    """Read a body.

    Args:
        body: JSON.
        defaults: for all that it doesn't say; `model` is the one that is served.
        most_frames: of a video, whatever the body says.

    Raises:
        Refused: it isn't such a body, or asks for what isn't supported.
        UsageError: a value out of range.
    """
    given = BODY.object(parse_json(body), "")
    model = given.get("model")
    if model is not None and model != defaults.model:
        raise Refused(
            404, f"this server has the model {defaults.model} alone (/v1/models)", "model_not_found"
        )
    videos, turns = _turns(list_of(given.get("messages"), "messages"))
    *history, (question, _) = turns
    if not question.strip():
        raise Refused(400, "the last message has no text: put a question beside the video")
    lists = [video.is_frames for video in videos]
    sampling, times = read_media(
        given.get("media_io_kwargs"),
        defaults.sampling,
        most_frames,
        jpegs=bool(lists) and all(lists),
        files=any(video.url is not None and not video.is_frames for video in videos),
    )
    method, against = _methods(given)
    return ChatRequest(
        videos=videos,
        question=question,
        history=tuple(history),
        sampling=sampling,
        method=method or defaults.method,
        generation=_generation(given, defaults.generation),
        stream=flag_of(given, "stream"),
        include_usage=flag_of(_options(given, STREAM_OPTIONS), "include_usage"),
        against=against,
        times=times,
    )


def _turns(messages: list[Any]) -> tuple[tuple[VideoPart, ...], list[tuple[str, str]]]:
    """The videos; and the questions with their answers, the last of which has none yet.

    No template of a video model is sure to have a place for a system message: it is put before the
    next question, or where it stands within one.
    """
    if not 1 <= len(messages) <= _MOST_MESSAGES:
        raise Refused(400, f"messages must be from 1 to {_MOST_MESSAGES}")
    videos: list[VideoPart] = []
    turns: list[tuple[str, str]] = []
    before, between = "", "\n"
    open_turn = False
    for number, message in enumerate(messages):
        role, parts = _message(message, f"messages[{number}]")
        shown = [part for part in parts if isinstance(part, VideoPart)]
        text = "\n".join(part for part in parts if isinstance(part, str) and part)
        if shown and role != "user":
            raise Refused(400, "only messages of the user have videos")
        videos += shown
        if role == "assistant":
            if not open_turn:
                raise Refused(400, "a message of the assistant must follow one of the user")
            turns[-1] = (turns[-1][0], text)
            open_turn = False
        elif open_turn:
            apart = "\n" if role == "user" else "\n\n"
            question = max(between, apart, key=len).join(filter(None, (turns[-1][0], text)))
            turns[-1], between = (question, ""), apart
        elif role == "user":
            turns.append((before + text, ""))
            before, between, open_turn = "", "\n", True
        elif text:
            before += f"{text}\n\n"
    if not open_turn:
        raise Refused(400, "the last message must be of the user")
    if len(videos) > _MOST_VIDEOS:
        raise Refused(400, f"there may be {_MOST_VIDEOS} videos, not {len(videos)}")
    return tuple(videos), turns


def _message(given: Any, path: str) -> tuple[str, list[VideoPart | str]]:
    """The role of a message, and its parts."""
    role = object_of(given, "a message").get("role")
    if not isinstance(role, str) or role not in MESSAGES:
        raise Refused(400, "the role of a message must be system, user or assistant")
    content = MESSAGES[role].object(given, path).get("content")
    path = f"{path}.content"
    if content is None:
        return role, []
    if isinstance(content, str):
        return role, [text_of(content, path)]
    parts = enumerate(list_of(content, path))
    return role, [_part(part, f"{path}[{number}]") for number, part in parts]


def _part(given: Any, path: str) -> VideoPart | str:
    kind = object_of(given, "a part of a message").get("type")
    if not isinstance(kind, str) or kind not in PARTS:
        raise Refused(
            400,
            "a part of a message must be text, video_url or input_video (images: as frames of a "
            "video, data:video/jpeg;base64,…)",
            parameter=path,
        )
    part = PARTS[kind].object(given, path)
    if kind == "text":
        return text_of(part.get("text"), f"{path}.text")
    read = _url if kind == "video_url" else _input_video
    return VideoPart(read(part.get(kind), f"{path}.{kind}"), _uuid(part))


def _url(given: Any, path: str, keys: Keys = VIDEO_URL) -> str | None:
    """Of `"video_url": "…"` or `{"url": "…"}`; null beside a uuid."""
    if isinstance(given, Mapping):
        given, path = keys.object(given, path).get("url"), f"{path}.url"
    return None if given is None else text_of(given, path)


def _input_video(given: Any, path: str) -> str | None:
    """Of `"input_video": {"data": "BASE64"}` (llama.cpp), or with a url in place of data."""
    if given is None:
        return None
    given = INPUT_VIDEO.object(given, path)
    if given.get("data") is None:
        return _url(given, path, INPUT_VIDEO)
    if given.get("url") is not None:
        raise Refused(400, f"{path} has data and a url: send one of them", parameter=path)
    data = text_of(given["data"], f"{path}.data")
    return data if data[:5].lower() == "data:" else f"data:video/mp4;base64,{data}"


def _uuid(part: Mapping[str, Any]) -> str | None:
    given = part.get("uuid")
    if given is None:
        return None
    if not isinstance(given, str) or not 1 <= len(given) <= 200:
        raise Refused(400, "uuid must be a text of 1 to 200 characters", parameter="uuid")
    return given


def _methods(given: Mapping[str, Any]) -> tuple[Method | None, Method | None]:
    """The method of the request, in our spelling or in vLLM's, and the one to compare with."""
    own = _options(given, DYCOKE)
    method = _method(own, "method", "dycoke.method")
    vllm = _method(_options(given, MM_PROCESSOR), "dycoke", "mm_processor_kwargs.dycoke")
    if method is not None and vllm is not None and method != vllm:
        raise Refused(
            400,
            "mm_processor_kwargs.dycoke and dycoke.method are two methods: send one of them",
            parameter="mm_processor_kwargs.dycoke",
        )
    return method or vllm, _method(own, "against", "dycoke.against")


def _method(options: Mapping[str, Any], key: str, path: str) -> Method | None:
    spec = options.get(key)
    if spec is None:
        return None
    if len(text := text_of(spec, path)) > _LONGEST_METHOD:
        raise Refused(400, f"{path} has more than {_LONGEST_METHOD} characters", parameter=path)
    return parse_spec(text, path).create()


def _generation(given: Mapping[str, Any], default: GenerationOptions) -> GenerationOptions:
    """Generation options; a `top_p` is taken where it changes nothing, which is greedy decoding."""
    tokens, older = given.get("max_completion_tokens"), given.get("max_tokens")
    if None not in (tokens, older) and tokens != older:
        raise Refused(
            400,
            "max_tokens and max_completion_tokens differ: send one of them",
            parameter="max_tokens",
        )
    calibrate = flag_of(_options(given, DYCOKE), "calibrate")
    name, most = ("max_tokens", older) if tokens is None else ("max_completion_tokens", tokens)
    changed: dict[str, Any] = {
        "max_new_tokens": most,
        "temperature": given.get("temperature"),
        "seed": given.get("seed"),
        **answer_format(given, _options(given, STRUCTURED), calibrate),
    }
    try:
        options = replace(default, **{k: v for k, v in changed.items() if v is not None})
    except UsageError as error:
        raise UsageError(str(error).replace("max_new_tokens", name)) from error
    top_p = given.get("top_p")
    if top_p is not None:
        if isinstance(top_p, bool) or not isinstance(top_p, (int, float)) or not 0 <= top_p <= 1:
            raise Refused(400, "top_p must be from 0 to 1", parameter="top_p")
        if top_p < 1 and options.temperature > 0:
            raise Refused(
                400,
                "top_p isn't supported with a temperature above 0; leave it out",
                parameter="top_p",
            )
    return options


def _options(given: Mapping[str, Any], keys: Keys) -> dict[str, Any]:
    """An object of the body with options; empty where it isn't there."""
    found = given.get(keys.name)
    return {} if found is None else keys.object(found, keys.name)
