"""The body of a request to /v1/responses: what it asks, checked; nothing is opened here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import uuid4

from dycoke_cli.answer.answer import Answer
from dycoke_cli.request import Request
from dycoke_cli.server.bodies import parse_json
from dycoke_cli.server.chat_request import (
    ChatRequest,
    calling_tools,
    check_in_windows,
    check_model,
    frames_of,
    last_question,
    max_tokens,
    methods,
    variables,
    with_tools,
)
from dycoke_cli.server.generation_request import generation
from dycoke_cli.server.media_options import as_frames
from dycoke_cli.server.messages import Parts, Turns, VideoPart, part_of, picture, turns_of
from dycoke_cli.server.parsed_answer import ParsedAnswer
from dycoke_cli.server.refused import Refused
from dycoke_cli.server.request_keys import (
    CALL_ITEMS,
    INPUT_IMAGE,
    INPUT_TEXT,
    ITEMS,
    OUTPUT_TEXT,
    RESPONSES,
    RESPONSES_STREAM,
    flag_of,
    ignoring,
    list_of,
    object_of,
    options_of,
    text_of,
)
from dycoke_cli.server.responses.response_store import HeldResponse
from dycoke_cli.server.tools import calling, offered_in_responses, result

LOGPROBS = "message.output_text.logprobs"
_TEXTS = {"input_text": INPUT_TEXT, "output_text": OUTPUT_TEXT}


@dataclass(frozen=True)
class ResponsesRequest:
    """A question in a conversation that the server may hold."""

    chat: ChatRequest  # the question, with all turns before it
    turns: Turns  # those and the question, without instructions
    given: Mapping[str, Any]  # the body, for what the reply repeats
    store: bool  # whether the response is held
    id: str = field(default_factory=lambda: f"resp_{uuid4().hex}")  # of the response

    def __post_init__(self) -> None:
        # Each video gets a handle, by which a later request shows it again.
        videos = tuple(
            part if part.uuid else replace(part, uuid=f"{self.id}/{number}")
            for number, part in enumerate(self.chat.videos)
        )
        object.__setattr__(self, "chat", replace(self.chat, videos=videos))

    def held(self, answer: Answer, parsed: ParsedAnswer) -> HeldResponse:
        """The conversation up to the answer."""
        *earlier, (question, _) = self.turns
        said = answer.answer
        if parsed.calls:
            # What can't be sent back as a call, since its arguments are no object, stays text.
            with suppress(Refused):
                calls = [call.document for call in parsed.calls]
                said = calling(calls, parsed.text, "tool_calls")
        return HeldResponse(
            turns=(*earlier, (question, said)),
            videos=tuple(
                VideoPart(None, part.uuid, times_s=part.times_s) for part in self.chat.videos
            ),
            sampling=self.chat.sampling,
            times=self.chat.times,
            max_tokens=self.chat.max_tokens,
        )


def parse_responses(
    body: bytes,
    defaults: Request,
    most_frames: int,
    find: Callable[[str], HeldResponse | None],
) -> ResponsesRequest:
    """Read a body.

    Args:
        find: gives an earlier response by its id, or None.
    """
    with ignoring() as ignored:
        request = _parse(RESPONSES.object(parse_json(body), ""), defaults, most_frames, find)
    return replace(request, chat=replace(request.chat, ignored=tuple(ignored)))


def _parse(
    given: Mapping[str, Any],
    defaults: Request,
    most_frames: int,
    find: Callable[[str], HeldResponse | None],
) -> ResponsesRequest:
    check_model(given, defaults)
    earlier = _earlier(given, find)
    before = () if earlier is None else earlier.turns
    messages = _messages(given.get("input"))
    videos, turns = turns_of(messages, before, as_frames=as_frames(given))
    if earlier is not None:
        videos = (*earlier.videos, *videos)
    question, history = last_question(_instructed(turns, given))
    offer = offered_in_responses(given)
    sampling, times = frames_of(given, videos, defaults.sampling, most_frames)
    if earlier is not None and earlier.videos and given.get("media_io_kwargs") is None:
        sampling, times = earlier.sampling, earlier.times
    method, against = methods(given)
    if against is not None:
        raise Refused(400, "dycoke.against is for POST /inspect")
    most = max_tokens(given, defaults.max_tokens if earlier is None else earlier.max_tokens)
    check_in_windows(replace(defaults, method=method or defaults.method, max_tokens=most), videos)
    options = generation(_as_chat(given), defaults.generation, ("max_output_tokens",))
    chat = ChatRequest(
        videos=videos,
        question=with_tools(question, offer),
        history=history,
        sampling=sampling,
        method=method or defaults.method,
        generation=calling_tools(options, offer),
        stream=flag_of(given, "stream"),
        include_usage=True,
        times=times,
        max_tokens=most,
        offer=offer,
        template=variables(given),
    )
    options_of(given, RESPONSES_STREAM)
    store = given.get("store") is None or flag_of(given, "store")
    metadata = {} if given.get("metadata") is None else object_of(given["metadata"], "metadata")
    return ResponsesRequest(chat, turns, {**given, "metadata": metadata}, store)


def _earlier(
    given: Mapping[str, Any], find: Callable[[str], HeldResponse | None]
) -> HeldResponse | None:
    """The conversation that a request goes on from; None for a new one."""
    previous = given.get("previous_response_id")
    if previous is None:
        return None
    earlier = find(text_of(previous, "previous_response_id"))
    if earlier is None:
        raise Refused(
            404,
            "the response of previous_response_id isn't held (any more): send the conversation",
            "previous_response_not_found",
            parameter="previous_response_id",
        )
    return earlier


def _instructed(turns: Turns, given: Mapping[str, Any]) -> Turns:
    """The turns with the instructions of this request before the first question."""
    instructions = given.get("instructions")
    if not instructions:
        return turns
    (question, answer), *others = turns
    return [(f"{text_of(instructions, 'instructions')}\n\n{question}", answer), *others]


def _as_chat(given: Mapping[str, Any]) -> dict[str, Any]:
    """The body with the keys of /v1/chat/completions for log-probabilities."""
    include = [] if given.get("include") is None else list_of(given["include"], "include")
    if other := next((one for one in include if one != LOGPROBS), None):
        raise Refused(400, f"include takes {LOGPROBS}, not {other!r:.100}", parameter="include")
    if given.get("top_logprobs") and not include:
        raise Refused(
            400, f'top_logprobs needs "include": ["{LOGPROBS}"]', parameter="top_logprobs"
        )
    return {**given, "logprobs": True} if include else {**given}


def _messages(given: Any) -> list[tuple[str, Parts]]:
    """The role and the parts of each message of `input`, which may be a question alone."""
    if isinstance(given, str):
        return [("user", [text_of(given, "input")])]
    messages: list[tuple[str, Parts]] = []
    said: list[str] = []  # of the assistant, since the last item of another one
    calls: list[Any] = []

    def close() -> None:
        """Add what the assistant said and called, which chat completions have as one message."""
        if calls:
            text = "\n".join(filter(None, said))
            messages.append(("assistant", [calling([*calls], text, "input")]))
        elif said:
            messages.append(("assistant", [*said]))
        said.clear()
        calls.clear()

    for number, item in enumerate(list_of(given, "input")):
        path = f"input[{number}]"
        kind = object_of(item, path).get("type", "message")
        if kind == "function_call":
            calls.append(_called(item, path))
            continue
        role, parts = _returned(item, path) if kind == "function_call_output" else _item(item, path)
        if role == "assistant" and all(isinstance(part, str) for part in parts):
            if said or calls:
                close()
            said += [part for part in parts if isinstance(part, str)] or [""]
            continue
        close()
        messages.append((role, parts))
    close()
    return messages


def _called(given: Any, path: str) -> dict[str, Any]:
    """A call as chat completions have it."""
    item = CALL_ITEMS["function_call"].object(given, path)
    function = {name: text_of(item.get(name), f"{path}.{name}") for name in ("name", "arguments")}
    return {"id": text_of(item.get("call_id"), f"{path}.call_id"), "function": function}


def _returned(given: Any, path: str) -> tuple[str, Parts]:
    """Result of a call."""
    item = CALL_ITEMS["function_call_output"].object(given, path)
    output, place = item.get("output"), f"{path}.output"
    if not isinstance(output, str):
        parts = [
            _part(part, f"{place}[{number}]") for number, part in enumerate(list_of(output, place))
        ]
        if not all(isinstance(part, str) for part in parts):
            raise Refused(400, f"{place} must be text", parameter=place)
        output = "\n".join(part for part in parts if isinstance(part, str))
    call = text_of(item.get("call_id"), f"{path}.call_id")
    return "tool", [result(text_of(output, place), call, path)]


def _item(given: Any, path: str) -> tuple[str, Parts]:
    kind = object_of(given, path).get("type", "message")
    role = given.get("role")
    if kind != "message" or not isinstance(role, str) or role not in ITEMS:
        raise Refused(
            400,
            f"{path} must be a message of the user, the assistant, system or developer, a "
            "function_call or a function_call_output",
            parameter=path,
        )
    content = ITEMS[role].object(given, path).get("content")
    path = f"{path}.content"
    if isinstance(content, str):
        return role, [text_of(content, path)]
    parts = enumerate(list_of(content, path))
    return role, [_part(part, f"{path}[{number}]") for number, part in parts]


def _part(given: Any, path: str) -> VideoPart | str:
    """A part of a message; videos are those of /v1/chat/completions."""
    kind = object_of(given, path).get("type")
    if isinstance(kind, str) and kind in _TEXTS:
        return text_of(_TEXTS[kind].object(given, path).get("text"), f"{path}.text")
    if kind == "input_image":
        url = INPUT_IMAGE.object(given, path).get("image_url")
        return picture(url, f"{path}.image_url")
    if kind in ("video_url", "input_video", "video", "image"):
        return part_of(given, path)
    raise Refused(
        400,
        f"{path} must be input_text, output_text, input_image, input_video, video_url, video or "
        "image",
        parameter=path,
    )
