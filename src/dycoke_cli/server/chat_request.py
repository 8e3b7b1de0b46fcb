"""The body of a request to /v1/chat/completions: what it asks, checked; nothing is opened here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from dycoke_cli.compression.method import Method
from dycoke_cli.compression.registry import parse_spec
from dycoke_cli.engine.generation_options import GenerationOptions
from dycoke_cli.errors import UsageError
from dycoke_cli.loop.in_windows import check_windows
from dycoke_cli.models.prompts.chat import ToolTurn, text_message, tools_of
from dycoke_cli.request import Request
from dycoke_cli.server.bodies import parse_json
from dycoke_cli.server.generation_request import answers, generation
from dycoke_cli.server.media_options import JpegTimes, read_media
from dycoke_cli.server.messages import Turns, VideoPart, turns_of
from dycoke_cli.server.refused import Refused
from dycoke_cli.server.request_keys import (
    BODY,
    DYCOKE,
    MM_PROCESSOR,
    STREAM_OPTIONS,
    TEMPLATE,
    THINKING,
    flag_of,
    ignoring,
    object_of,
    options_of,
    text_of,
    thinking,
)
from dycoke_cli.server.tools import Offer, offered
from dycoke_cli.unicode import display_name
from dycoke_cli.video.sampling import Sampling

_LONGEST_METHOD = 1000
_MAX_TOKENS = "dycoke.max_tokens"
_KIND = re.compile("^(openai|hosted_vllm)/")


@dataclass(frozen=True)
class ChatRequest:
    """A question about videos, or about none."""

    videos: tuple[VideoPart, ...]  # of all turns, in order; they are shown before the first
    question: str  # the last turn
    history: tuple[tuple[str, str], ...]  # earlier questions with their answers
    sampling: Sampling  # which frames are read
    method: Method  # which visual tokens are dropped
    generation: GenerationOptions  # how the answer is generated
    stream: bool  # whether the answer is sent while it is generated
    include_usage: bool  # whether a stream ends with the figures
    against: Method | None = None  # the method that is shown beside it, where both are inspected
    # of the videos that are pictures or lists of JPEGs
    times: JpegTimes = field(default_factory=JpegTimes)
    answers: int = 1  # how many are generated, one behind the other
    max_tokens: int | None = None  # see `compression.pool.TokenBudget`
    offer: Offer = field(default_factory=Offer)  # what the answer may call, or has to
    # variables of the chat template: path of the key that sets it, name and value
    template: tuple[tuple[str, str, Any], ...] = ()
    ignored: tuple[str, ...] = field(default=(), compare=False)  # paths of keys without effect

    @property
    def tools(self) -> tuple[Mapping[str, Any], ...]:
        """Tools that the answer may call."""
        return tools_of(self.question)

    @property
    def has_tool_turns(self) -> bool:
        """Whether a turn has to do with tools."""
        texts = (self.question, *(text for turn in self.history for text in turn))
        return any(isinstance(text, ToolTurn) for text in texts)


def parse(body: bytes, defaults: Request, most_frames: int) -> ChatRequest:
    """Read a body."""
    with ignoring() as ignored:
        given = BODY.object(parse_json(body), "")
        check_model(given, defaults)
        request = asked(given, *turns_of(given), defaults, most_frames)
    return replace(request, ignored=tuple(ignored))


def asked(
    given: Mapping[str, Any],
    videos: tuple[VideoPart, ...],
    turns: Turns,
    defaults: Request,
    most_frames: int,
) -> ChatRequest:
    """What a body asks in a conversation about videos."""
    question, history = _last_question(turns)
    offer = offered(given)
    sampling, times = _frames(given, videos, defaults.sampling, most_frames)
    method, against = _methods(given)
    options = _calling_tools(generation(given, defaults.generation), offer)
    most = _max_tokens(given, defaults.max_tokens)
    _check_in_windows(replace(defaults, method=method or defaults.method, max_tokens=most), videos)
    return ChatRequest(
        videos=videos,
        question=_with_tools(question, offer),
        history=history,
        sampling=sampling,
        method=method or defaults.method,
        generation=options,
        stream=flag_of(given, "stream"),
        include_usage=flag_of(options_of(given, STREAM_OPTIONS), "include_usage"),
        against=against,
        times=times,
        answers=answers(given, options),
        max_tokens=most,
        offer=offer,
        template=_variables(given),
    )


def check_model(given: Mapping[str, Any], defaults: Request) -> None:
    """Refuse another model than the one that is served."""
    model = given.get("model")
    if model not in (None, "") and not is_model(model, defaults):
        raise Refused(
            404,
            f"there is no model {display_name(str(model))[:100]}; this server has {defaults.model} "
            "alone (/v1/models)",
            "model_not_found",
            parameter="model",
        )


def is_model(name: Any, defaults: Request) -> bool:
    """Whether it is the model that is served, in any case, and with any tag (`mini:latest`)."""
    # LiteLLM puts the kind of server before it.
    served, name = (_KIND.sub("", str(one).casefold()) for one in (defaults.model, name))
    return served in (name, name.rpartition(":")[0])


def _variables(given: Mapping[str, Any]) -> tuple[tuple[str, str, Any], ...]:
    """What a body sets of the variables of the chat template; see `ChatRequest.template`."""
    values = {} if given.get(TEMPLATE) is None else object_of(given[TEMPLATE], TEMPLATE)
    found = [(f"{TEMPLATE}.{display_name(name)[:100]}", name, values[name]) for name in values]
    return (*found, *((path, THINKING, thinks) for path, thinks in thinking(given)))


def _last_question(turns: Turns) -> tuple[str, tuple[tuple[str, str], ...]]:
    """The question of the last turn, and the turns before it."""
    *history, (question, _) = turns
    if not question.strip() and not isinstance(question, ToolTurn):
        raise Refused(400, "the last message has no text: put a question beside the video")
    return question, tuple(history)


def _with_tools(question: str, offer: Offer) -> str:
    """The question with the tools that its answer may call."""
    if not offer.tools:
        return question
    if isinstance(question, ToolTurn):
        return question.with_tools(offer.tools)
    return ToolTurn([text_message("user", question)], offer.tools)


def _calling_tools(options: GenerationOptions, offer: Offer) -> GenerationOptions:
    """The options of an answer that may call tools, or has to."""
    if offer.tools and (options.typed is not None or options.structured is not None):
        raise Refused(
            400, "an answer of a given form calls no tools: leave tools out", parameter="tools"
        )
    if offer.forced is None:
        return options
    return replace(options, structured=offer.forced.form())


def _frames(
    given: Mapping[str, Any], videos: tuple[VideoPart, ...], default: Sampling, most: int
) -> tuple[Sampling, JpegTimes]:
    """Which frames of a request's videos are read, and the times of pictures; see `read_media`."""
    frames = [video.is_frames for video in videos]
    return read_media(
        given,
        default,
        most,
        jpegs=bool(frames) and all(frames),
        files=any(video.is_sent and not video.is_frames for video in videos),
    )


def _methods(given: Mapping[str, Any]) -> tuple[Method | None, Method | None]:
    """The method of the request, in our spelling or in vLLM's, and the one to compare with."""
    own = options_of(given, DYCOKE)
    method = _method(own, "method", "dycoke.method")
    vllm = _method(options_of(given, MM_PROCESSOR), "dycoke", "mm_processor_kwargs.dycoke")
    if method is not None and vllm is not None and method != vllm:
        raise Refused(
            400,
            "mm_processor_kwargs.dycoke and dycoke.method are two methods: send one of them",
            parameter="mm_processor_kwargs.dycoke",
        )
    return method or vllm, _method(own, "against", "dycoke.against")


def _max_tokens(given: Mapping[str, Any], default: int | None) -> int | None:
    """Visual tokens that the language model reads at most; null is no limit."""
    options = options_of(given, DYCOKE)
    if "max_tokens" not in options:
        return default
    found = options["max_tokens"]
    if found is not None and (type(found) is not int or found < 1):
        raise Refused(400, f"{_MAX_TOKENS} must be 1 or more", parameter=_MAX_TOKENS)
    return found


def _check_in_windows(request: Request, videos: tuple[VideoPart, ...]) -> None:
    """Refuse what can't be answered from the windows of a video."""
    try:
        check_windows(request, max(1, len(videos)))
    except UsageError as error:
        sentence = str(error).replace("max_tokens", _MAX_TOKENS)
        raise Refused(400, sentence, parameter=_MAX_TOKENS) from error


def _method(options: Mapping[str, Any], key: str, path: str) -> Method | None:
    spec = options.get(key)
    if spec is None:
        return None
    if len(text := text_of(spec, path)) > _LONGEST_METHOD:
        raise Refused(400, f"{path} has more than {_LONGEST_METHOD} characters", parameter=path)
    return parse_spec(text, path).create()
