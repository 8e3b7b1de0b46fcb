"""`/v1/chat/completions`: what a body asks, checked, and the reply; nothing is opened here."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import uuid4

from dycoke_cli import (
    Answer,
    Ask,
    GenerationOptions,
    Method,
    Request,
    StructuredOutput,
    TokenOptions,
    TypedOptions,
)
from dycoke_cli.compression.registry import parse_spec
from dycoke_cli.errors import UsageError
from dycoke_cli.server.messages import JpegTimes, VideoPart, read_media, turns_of
from dycoke_cli.server.refused import KEYS, Refused, refused
from dycoke_cli.server.replies import event, usage
from dycoke_cli.server.request_body import parse_json
from dycoke_cli.server.request_keys import (
    BODY,
    DYCOKE,
    FORMS,
    JSON_SCHEMA,
    MM_PROCESSOR,
    RESPONSE_FORMAT,
    STREAM_OPTIONS,
    STRUCTURED,
    TEMPLATE,
    THINKING,
    flag_of,
    ignoring,
    list_of,
    object_of,
    options_of,
    text_of,
    thinking,
)
from dycoke_cli.unicode import display_name
from dycoke_cli.video.subtitles import SPEECH

_LONGEST_METHOD = 1000
_VIDEO_TOKENS, _SUBTITLES = "dycoke.video_tokens", "dycoke.subtitles"
_DONE = b"data: [DONE]\n\n"
_KIND = re.compile("^(openai|hosted_vllm)/")


@dataclass(frozen=True)
class Reply:
    """The reply to one request of any protocol."""

    model: str  # that is served
    request: ChatRequest  # what is asked

    @property
    def longest(self) -> str:
        """The longest question that is read."""
        return self.request.question

    def asks(self, about: Ask) -> list[Ask]:
        """The questions about the videos of the request."""
        return [about]


@dataclass(frozen=True)
class ChatReply(Reply):
    """The reply to one request to `/v1/chat/completions`."""

    id: str = field(default_factory=lambda: f"chatcmpl-{uuid4().hex}")  # of the completion
    created: int = field(default_factory=lambda: int(time.time()))  # seconds since 1970

    def whole(self, answer: Answer) -> dict[str, Any]:
        """The object of an answer that isn't streamed."""
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": answer.answer, "refusal": None},
            "logprobs": None,
            "finish_reason": _end(answer),
        }
        return {**self._head("chat.completion"), "choices": [choice], "usage": usage(answer)}

    def first(self) -> bytes:
        """The chunk before all text."""
        return self._chunk({"role": "assistant", "content": ""})

    def piece(self, text: str) -> bytes:
        """The chunk of a stretch of text."""
        return self._chunk({"content": text})

    def end(self, answer: Answer) -> bytes:
        """The chunks behind all text."""
        end = self._chunk({}, _end(answer))
        if self.request.include_usage:
            head = self._head("chat.completion.chunk")
            end += event({**head, "choices": [], "usage": usage(answer)})
        return end + _DONE

    def failed(self, reason: Refused) -> bytes:
        """The chunk of an error, which ends a stream."""
        return event(reason.document)

    def _chunk(self, delta: dict[str, Any], end: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": end}
        return event({**self._head("chat.completion.chunk"), "choices": [choice]})

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}


def _end(answer: Answer) -> str:
    return "length" if answer.finish_reason == "length" else "stop"


@dataclass(frozen=True)
class ChatRequest:
    """A question about videos, or about none."""

    videos: tuple[VideoPart, ...]  # of all turns, in order; they are shown before the first
    question: str  # the last turn
    history: tuple[tuple[str, str], ...]  # earlier questions with their answers
    request: Request  # how it is asked
    stream: bool  # whether the answer is sent while it is generated
    include_usage: bool  # whether a stream ends with the figures
    # of the videos that are pictures or lists of JPEGs
    times: JpegTimes = field(default_factory=JpegTimes)
    # variables of the chat template: path of the key that sets it, name and value
    template: tuple[tuple[str, str, Any], ...] = ()
    ignored: tuple[str, ...] = field(default=(), compare=False)  # paths of keys without effect
    # makes the reply, of the name of the model and of this request
    reply: Callable[[str, ChatRequest], Any] = field(default=ChatReply, compare=False)


Reader = Callable[[Any, Request, int], ChatRequest]
"""Reads a body of one protocol, by the server's defaults and the most frames of a video."""


def read_chat(body: Any, defaults: Request, most_frames: int) -> ChatRequest:
    """Read a body of `/v1/chat/completions`."""
    return asked(BODY.object(body, ""), defaults, most_frames)


def parse(
    body: bytes, defaults: Request, most_frames: int, reader: Reader = read_chat
) -> ChatRequest:
    """What a body of any protocol asks."""
    with ignoring() as ignored:
        request = reader(parse_json(body), defaults, most_frames)
    return replace(request, ignored=tuple(ignored))


def asked(
    given: Mapping[str, Any],
    defaults: Request,
    most_frames: int,
    listed: str = "messages",
    before: str = "",
) -> ChatRequest:
    """What a body asks, with the keys that are read. Args: as of `turns_of`."""
    check_model(given, defaults)
    videos, (*history, (question, _)) = turns_of(given, listed, before)
    if not question.strip():
        raise Refused("the last message has no text: put a question beside the video")
    sampling, times = read_media(given, videos, defaults.sampling, most_frames)
    own = options_of(given, DYCOKE)
    method = _chosen(own, options_of(given, MM_PROCESSOR))
    # The cautions are those of the server's method.
    if method not in (None, defaults.method):
        defaults = defaults.with_method(method)
    request = replace(
        defaults,
        sampling=sampling,
        generation=generation(given, defaults.generation),
        video_tokens=_video_tokens(own, defaults.video_tokens),
        subtitles=_subtitles(own),
    )
    return ChatRequest(
        videos=videos,
        question=question,
        history=tuple(history),
        request=request,
        stream=flag_of(given, "stream"),
        include_usage=flag_of(options_of(given, STREAM_OPTIONS), "include_usage"),
        times=times,
        template=_variables(given),
    )


def check_model(given: Mapping[str, Any], defaults: Request) -> None:
    """Refuse another model than the one that is served, in any case and with any tag."""
    model = given.get("model")
    # LiteLLM puts the kind of server before it; a tag is that of `mini:latest`.
    served, name = (_KIND.sub("", str(one).casefold()) for one in (defaults.model_name, model))
    if not (model in (None, "", defaults.model) or served in (name, name.rpartition(":")[0])):
        raise Refused(
            f"there is no model {display_name(str(model))[:100]}; this server has "
            f"{defaults.model_name} alone (/v1/models)",
            "model",
            status=404,
            code="model_not_found",
        )


def _variables(given: Mapping[str, Any]) -> tuple[tuple[str, str, Any], ...]:
    """What a body sets of the variables of the chat template; see `ChatRequest.template`."""
    values = {} if given.get(TEMPLATE) is None else object_of(given[TEMPLATE], TEMPLATE)
    found = [(f"{TEMPLATE}.{display_name(name)[:100]}", name, values[name]) for name in values]
    return (*found, *((path, THINKING, thinks) for path, thinks in thinking(given)))


def _chosen(own: Mapping[str, Any], processor: Mapping[str, Any]) -> Method | None:
    """The method of the request, in our spelling or in vLLM's."""
    method = _method(own.get("method"), "dycoke.method")
    vllm = _method(processor.get("dycoke"), "mm_processor_kwargs.dycoke")
    if method is not None and vllm is not None and method != vllm:
        raise Refused(
            "mm_processor_kwargs.dycoke and dycoke.method are two methods: send one of them",
            "mm_processor_kwargs.dycoke",
        )
    return method or vllm


def _video_tokens(own: Mapping[str, Any], default: int | None) -> int | None:
    """Visual tokens that the language model reads at most; null is no limit."""
    found = own.get("video_tokens", default)
    if found is not None and (type(found) is not int or found < 1):
        raise Refused(f"{_VIDEO_TOKENS} must be 1 or more", _VIDEO_TOKENS)
    return found


def _subtitles(own: Mapping[str, Any]) -> str | None:
    """What is said in the videos, where it is wanted; null is none. No file can be named."""
    found = own.get("subtitles")
    if found is not None and not SPEECH.fullmatch(text_of(found, _SUBTITLES)):
        raise Refused(f'{_SUBTITLES} must be "speech", or with a language "speech:en"', _SUBTITLES)
    return found


def _method(spec: Any, path: str) -> Method | None:
    if spec is None:
        return None
    if len(text := text_of(spec, path)) > _LONGEST_METHOD:
        raise Refused(f"{path} has more than {_LONGEST_METHOD} characters", path)
    return parse_spec(text, path).create()


_LIMITS = ("max_tokens", "max_completion_tokens")  # of the answer's tokens
_DRAWN = ("top_p", "top_k", "min_p")
_ALL = -1  # of vLLM's top_k
_NEW_SEED = -1
_NO_LIMIT = -1  # of LM Studio's and llama.cpp's max_tokens


def generation(given: Mapping[str, Any], default: GenerationOptions) -> GenerationOptions:
    """Generation options of a body."""
    named = {name: given[name] for name in _LIMITS if given.get(name) is not None}
    if len({*map(repr, named.values())}) > 1:
        raise Refused(f"{' and '.join(named)} differ: send one of them", _LIMITS[0])
    name, most = [*named.items()][-1] if named else ("max_tokens", None)
    fits = type(most) is int and most == _NO_LIMIT
    seed = given.get("seed")
    if type(seed) is int and seed == _NEW_SEED:
        default, seed = replace(default, seed=None), None
    changed: dict[str, Any] = {
        "max_tokens": None if fits else most,
        "temperature": given.get("temperature"),
        "seed": seed,
        **answer_format(given),
    }
    try:
        options = replace(default, **{k: v for k, v in changed.items() if v is not None})
        options = options.of_what_fits() if fits else options
        return replace(options, tokens=_tokens(given, options.temperature > 0))
    except UsageError as error:
        raise refused(error, {**KEYS, "max_tokens": name}) from error


def _tokens(given: Mapping[str, Any], sampled: bool) -> TokenOptions | None:
    """Options of single tokens; None where the body has none that change anything."""
    values = {name: given[name] for name in (*_DRAWN, "repetition_penalty") if name in given}
    if values.get("top_k") == _ALL:
        values["top_k"] = 0
    # 0 leaves the likeliest token, as the smallest share above it does.
    if not isinstance(values.get("top_p"), bool) and values.get("top_p") == 0:
        values["top_p"] = 1e-6
    options = TokenOptions(**values, stop=_stop(given.get("stop")))
    if not sampled:  # a greedy answer doesn't depend on them
        options = replace(options, top_p=None, top_k=None, min_p=None)
    return None if options == TokenOptions() else options


def _stop(given: Any) -> tuple[str, ...]:
    """Texts that end the answer: one, or a list; empty ones end nothing."""
    texts = [given] if isinstance(given, str) else list_of([] if given is None else given, "stop")
    named = (text_of(text, f"stop[{number}]") for number, text in enumerate(texts))
    return tuple(dict.fromkeys(filter(None, named)))


_KINDS = ("choice", "json", "regex", "grammar")
_ANY_OBJECT = '{"type": "object"}'


def answer_format(body: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `GenerationOptions` that say what an answer may be; none for free text.

    Args:
        body: of the request, with OpenAI's `response_format`, vLLM's `structured_outputs`, and
            `FORMS`.
    """
    structured = options_of(body, STRUCTURED)
    given = [
        *_response_format(body.get("response_format")),
        *((f"structured_outputs.{kind}", kind, structured.get(kind)) for kind in _KINDS),
        *((key, kind, body.get(key)) for key, kind in FORMS.items()),
    ]
    if flag_of(structured, "json_object"):
        given.append(("structured_outputs.json_object", "json", _ANY_OBJECT))
    forms = {path: _form(kind, form, path) for path, kind, form in given if form not in (None, "")}
    first, *others = forms or ("",)
    for other in others:
        if forms[other] != forms[first]:
            raise Refused(f"send {first} or {other}, not both", other)
    return forms.get(first, {})


def _form(kind: str, form: Any, path: str) -> dict[str, Any]:
    """The field of one form; its definition may be an object or JSON."""
    if kind == "choice":
        texts = enumerate(list_of(form, path))
        return {"typed": TypedOptions(tuple(text_of(text, f"{path}[{n}]") for n, text in texts))}
    is_object = kind == "json" and not isinstance(form, str)
    definition = json.dumps(form) if is_object else text_of(form, path)
    try:
        return {"structured": StructuredOutput(kind, definition)}  # type: ignore[arg-type]
    except UsageError as error:
        raise Refused(f"{path}: {error}", path) from error


def _response_format(given: Any) -> Iterator[tuple[str, str, Any]]:
    """Path, kind and definition of OpenAI's form; llama.cpp has the schema beside the type."""
    if given is None:
        return
    path = RESPONSE_FORMAT.name
    found = RESPONSE_FORMAT.object(given, path)
    kind, schema = found.get("type"), found.get("schema")
    if kind not in ("text", "json_object", "json_schema"):
        raise Refused(f"{path}.type must be text, json_object or json_schema", f"{path}.type")
    if kind == "json_schema" and schema is None:
        path = JSON_SCHEMA.name
        schema = JSON_SCHEMA.object(found.get("json_schema"), path).get("schema")
        if schema is None:
            raise Refused(f"{path}.schema must be an object", f"{path}.schema")
    if kind != "text":
        path, schema = (path, _ANY_OBJECT) if schema is None else (f"{path}.schema", schema)
        yield path, "json", schema
