"""`/v1/responses`, OpenAI's newer protocol: bodies become those of chat completions, and back.

Conversations are held for a while by the ids of their responses.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any
from uuid import uuid4

from dycoke_cli.answer.answer import Answer
from dycoke_cli.errors import DycokeError
from dycoke_cli.request import Request
from dycoke_cli.server.body import parse_json
from dycoke_cli.server.chat import ChatRequest, asked, check_model
from dycoke_cli.server.messages import JpegTimes, Turns, VideoPart, turns_of
from dycoke_cli.server.refused import Refused, refused
from dycoke_cli.server.replies import NumberedCall, ParsedAnswer, event, token_logprobs, usage
from dycoke_cli.server.request_keys import (
    CALL_ITEMS,
    INPUT_IMAGE,
    INPUT_TEXT,
    ITEMS,
    OUTPUT_TEXT,
    RESPONSES,
    RESPONSES_STREAM,
    RESPONSES_TOOL,
    RESPONSES_TOOL_CHOICE,
    TEXT,
    TEXT_FORMAT,
    flag_of,
    ignoring,
    list_of,
    object_of,
    options_of,
    text_of,
)
from dycoke_cli.server.tools import calling
from dycoke_cli.video.sampling import Sampling

_LOGPROBS = "message.output_text.logprobs"
_TEXTS = {"input_text": INPUT_TEXT, "output_text": OUTPUT_TEXT}
_MESSAGE = "message"


@dataclass(frozen=True)
class HeldResponse:
    """A conversation up to a response."""

    turns: tuple[tuple[str, str], ...]  # questions with their answers, without instructions
    videos: tuple[VideoPart, ...]  # of all turns, by their handles
    sampling: Sampling  # by which frames of these were read
    times: JpegTimes  # of those that are pictures
    max_tokens: int | None = None  # visual tokens that were read of them at most; None for no limit


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
        given = RESPONSES.object(parse_json(body), "")
        check_model(given, defaults)
        before = _earlier(given, find, defaults)
        defaults = replace(defaults, max_tokens=before.max_tokens)
        places: dict[str, str] = {}
        store = given.get("store") is None or flag_of(given, "store")
        metadata = {} if given.get("metadata") is None else object_of(given["metadata"], "metadata")
        in_chat = to_chat(given, places)
        try:
            videos, turns = turns_of(in_chat, before.turns)
            videos = (*before.videos, *videos)
            chat = asked(in_chat, videos, _instructed(turns, given), defaults, most_frames)
        except (Refused, DycokeError) as error:
            raise _renamed(refused(error), places) from error
    if before.videos and given.get("media_io_kwargs") is None:
        chat = replace(chat, sampling=before.sampling, times=before.times)
    paths = (path.replace("messages[]", "input[]") for path in ignored)
    chat = replace(chat, ignored=tuple(paths))
    return ResponsesRequest(chat, turns, {**given, "metadata": metadata}, store)


def _renamed(reason: Refused, places: Mapping[str, str]) -> Refused:
    """An error about the body of chat completions, by the paths of this one."""
    texts = [str(reason), reason.parameter]
    for path in sorted(places, key=len, reverse=True):
        texts = [text and text.replace(path, places[path]) for text in texts]
    sentence, parameter = texts
    return Refused(
        sentence or "", parameter, status=reason.status, code=reason.code, headers=reason.headers
    )


def _earlier(
    given: Mapping[str, Any], find: Callable[[str], HeldResponse | None], defaults: Request
) -> HeldResponse:
    """The conversation that a request goes on from; an empty one for a new one."""
    previous = given.get("previous_response_id")
    if previous is None:
        return HeldResponse((), (), defaults.sampling, JpegTimes(), defaults.max_tokens)
    earlier = find(text_of(previous, "previous_response_id"))
    if earlier is None:
        raise Refused(
            "the response of previous_response_id isn't held (any more): send the conversation",
            "previous_response_id",
            status=404,
            code="previous_response_not_found",
        )
    return earlier


def _instructed(turns: Turns, given: Mapping[str, Any]) -> Turns:
    """The turns with the instructions of this request before the first question."""
    instructions = given.get("instructions")
    if not instructions:
        return turns
    (question, answer), *others = turns
    return [(f"{text_of(instructions, 'instructions')}\n\n{question}", answer), *others]


def to_chat(given: Mapping[str, Any], places: dict[str, str]) -> dict[str, Any]:
    """The body as that of /v1/chat/completions.

    Args:
        given: the body, with the keys that are read.
        places: gets the paths of the result that are called otherwise in the body.
    """
    include = [] if given.get("include") is None else list_of(given["include"], "include")
    if other := next((one for one in include if one != _LOGPROBS), None):
        raise Refused(f"include takes {_LOGPROBS}, not {other!r:.100}", "include")
    if given.get("top_logprobs") and not include:
        raise Refused(f'top_logprobs needs "include": ["{_LOGPROBS}"]', "top_logprobs")
    chat = {
        **given,
        "messages": _messages(given.get("input"), places),
        "max_completion_tokens": given.get("max_output_tokens"),
        "logprobs": bool(include),
        "stream_options": options_of(given, RESPONSES_STREAM),
    }
    form = options_of(given, TEXT).get("format")
    if form is not None:
        form = TEXT_FORMAT.object(form, TEXT_FORMAT.name)
        schema = form.get("schema")
        inner = {"schema": schema}
        chat["response_format"] = {"type": form.get("type"), "json_schema": inner, **inner}
    if given.get("tools") is not None:
        chat["tools"] = []
        for number, tool in enumerate(list_of(given["tools"], "tools")):
            function = RESPONSES_TOOL.object(tool, f"tools[{number}]")
            kind = {"type": function.pop("type", None)}
            chat["tools"].append({**kind, "function": function})
            places[f"tools[{number}].function"] = f"tools[{number}]"
    if isinstance(choice := given.get("tool_choice"), dict):
        function = RESPONSES_TOOL_CHOICE.object(choice, "tool_choice")
        chat["tool_choice"] = {"type": function.pop("type", None), "function": function}
    places |= {
        "tool_choice.function": "tool_choice",
        "max_completion_tokens": "max_output_tokens",
        "response_format.json_schema": TEXT_FORMAT.name,
        "response_format": TEXT_FORMAT.name,
    }
    return chat


def _messages(given: Any, places: dict[str, str]) -> list[dict[str, Any]]:
    """The messages of `input`, which may be a question alone; see `to_chat`."""
    if isinstance(given, str):
        places["messages[0].content"] = "input"
        return [{"role": "user", "content": given}]
    messages: list[dict[str, Any]] = []
    for number, item in enumerate(list_of(given, "input")):
        path = f"input[{number}]"
        kind = object_of(item, path).get("type", "message")
        if kind == "function_call":
            # What the assistant says before its calls is of the same message.
            if not messages or messages[-1]["role"] != "assistant":
                messages.append({"role": "assistant", "content": None})
            calls = messages[-1].setdefault("tool_calls", [])
            place = f"messages[{len(messages) - 1}].tool_calls[{len(calls)}]"
            places |= {f"{place}.function": path, place: path}
            calls.append(_call_of(item, path))
            continue
        place = f"messages[{len(messages)}]"
        if kind == "function_call_output":
            item = CALL_ITEMS[kind].object(item, path)
            content = _content(item.get("output"), f"{path}.output")
            message = {"role": "tool", "tool_call_id": item.get("call_id"), "content": content}
            own = {"content": "output", "tool_call_id": "call_id"}
            places |= {f"{place}.{key}": f"{path}.{name}" for key, name in own.items()}
        else:
            message = _message(item, path)
            places[place] = path
        messages.append(message)
    return messages


def _call_of(given: Any, path: str) -> dict[str, Any]:
    """A call of a tool, as a message has it."""
    item = CALL_ITEMS["function_call"].object(given, path)
    function = {name: item.get(name) for name in ("name", "arguments")}
    return {"id": text_of(item.get("call_id"), f"{path}.call_id"), "function": function}


def _message(given: dict[str, Any], path: str) -> dict[str, Any]:
    role = given.get("role")
    if given.get("type", "message") != "message" or not isinstance(role, str) or role not in ITEMS:
        raise Refused(
            f"{path} must be a message of the user, the assistant, system or developer, a "
            "function_call or a function_call_output",
            path,
        )
    content = ITEMS[role].object(given, path).get("content")
    return {"role": role, "content": _content(content, f"{path}.content")}


def _content(given: Any, path: str) -> str | list[dict[str, Any]]:
    """The content of a message; videos are those of /v1/chat/completions."""
    if isinstance(given, str):
        return given
    parts = enumerate(list_of(given, path))
    return [_part_of(part, f"{path}[{number}]") for number, part in parts]


def _part_of(given: Any, path: str) -> dict[str, Any]:
    kind = object_of(given, path).get("type")
    if isinstance(kind, str) and kind in _TEXTS:
        return {"type": "text", "text": _TEXTS[kind].object(given, path).get("text")}
    if kind == "input_image":
        url = INPUT_IMAGE.object(given, path).get("image_url")
        return {"type": "image_url", "image_url": url}
    if kind in ("video_url", "input_video", "video", "image"):
        return given
    raise Refused(
        f"{path} must be input_text, output_text, input_image, input_video, video_url, video or "
        "image",
        path,
    )


@dataclass(frozen=True)
class ResponsesReply:
    """The reply to one request; its output is a message, calls of tools, or both."""

    model: str  # that is served
    request: ResponsesRequest  # what is asked
    created: float = field(default_factory=time.time)  # seconds since 1970
    _numbers: count[int] = field(default_factory=count)
    _streamed: list[str] = field(default_factory=list)  # the message and the ids of calls, in order

    def whole(
        self, answers: Sequence[Answer], all_parsed: Sequence[ParsedAnswer]
    ) -> dict[str, Any]:
        """The object of an answer, which is the only one."""
        [answer], [parsed] = answers, all_parsed
        cut = answer.finish_reason == "length"
        status = "incomplete" if cut else "completed"
        items = {call.id: _call(call) for call in parsed.calls}
        if parsed.text or not items:
            message = self._message(status, [_part(answer, parsed)])
            items = {_MESSAGE: message, **items}
        return {
            **self._response(status),
            "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
            "output": [items[name] for name in self._streamed or items],
            "usage": _usage(answer),
        }

    def first(self) -> bytes:
        """The events before all output."""
        begun = self._response("in_progress")
        return self._event("response.created", response=begun) + self._event(
            "response.in_progress", response=begun
        )

    def piece(self, piece: str | NumberedCall, index: int = 0) -> bytes:
        """The events of a stretch of text, or of a whole call."""
        if isinstance(piece, str):
            delta = {"delta": piece, "logprobs": list[Any]()}
            return self._begun() + self._event("response.output_text.delta", **self._place, **delta)
        item, place = _call(piece), {"output_index": len(self._streamed)}
        self._streamed.append(piece.id)
        arguments, named = item["arguments"], {"item_id": item["id"], **place}
        empty = {**item, "arguments": "", "status": "in_progress"}
        done = {**named, "name": item["name"], "arguments": arguments}
        return (
            self._event("response.output_item.added", **place, item=empty)
            + self._event("response.function_call_arguments.delta", **named, delta=arguments)
            + self._event("response.function_call_arguments.done", **done)
            + self._event("response.output_item.done", **place, item=item)
        )

    def end(self, answers: Sequence[Answer], parsed: ParsedAnswer, *, more: bool) -> bytes:
        """The events that end a stream; see `whole`."""
        events = b"" if self._streamed else self._begun()
        whole = self.whole(answers, [parsed])
        if _MESSAGE in self._streamed:
            number, part = self._streamed.index(_MESSAGE), _part(answers[-1], parsed)
            of_text = {"text": part["text"], "logprobs": part["logprobs"]}
            done = {"output_index": number, "item": whole["output"][number]}
            events += self._event("response.output_text.done", **self._place, **of_text)
            events += self._event("response.content_part.done", **self._place, part=part)
            events += self._event("response.output_item.done", **done)
        return events + self._event(f"response.{whole['status']}", response=whole)

    def _begun(self) -> bytes:
        """The events that begin the message, the first time."""
        if _MESSAGE in self._streamed:
            return b""
        self._streamed.append(_MESSAGE)
        place, message = self._place, self._message("in_progress", [])
        part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
        added = {"output_index": place["output_index"], "item": message}
        return self._event("response.output_item.added", **added) + self._event(
            "response.content_part.added", **place, part=part
        )

    def failed(self, reason: Refused) -> bytes:
        """The event of an error, which ends a stream."""
        error = reason.document["error"]
        return self._event("error", **{key: error[key] for key in ("code", "message", "param")})

    @property
    def _place(self) -> dict[str, Any]:
        number = self._streamed.index(_MESSAGE)
        return {"item_id": self._message_id, "output_index": number, "content_index": 0}

    @property
    def _message_id(self) -> str:
        return self.request.id.replace("resp_", "msg_", 1)

    def _event(self, kind: str, **fields: Any) -> bytes:
        return event({"type": kind, "sequence_number": next(self._numbers), **fields}, kind)

    def _message(self, status: str, content: list[dict[str, Any]]) -> dict[str, Any]:
        head = {"id": self._message_id, "type": "message", "role": "assistant"}
        return {**head, "status": status, "content": content}

    def _response(self, status: str) -> dict[str, Any]:
        given, options = self.request.given, self.request.chat.generation
        text = given.get("text") or {}
        return {
            "id": self.request.id,
            "object": "response",
            "created_at": self.created,
            "status": status,
            "error": None,
            "incomplete_details": None,
            "instructions": given.get("instructions"),
            "max_output_tokens": options.max_new_tokens,
            "metadata": given["metadata"],
            "model": self.model,
            "output": [],
            "parallel_tool_calls": given.get("parallel_tool_calls", bool(given.get("tools"))),
            "previous_response_id": given.get("previous_response_id"),
            "store": self.request.store,
            "temperature": options.temperature,
            "text": {"format": text.get("format") or {"type": "text"}},
            "tool_choice": given.get("tool_choice") or ("auto" if given.get("tools") else "none"),
            "tools": [{**_TOOL, **tool} for tool in given.get("tools") or ()],
            "top_p": 1.0 if given.get("top_p") is None else given["top_p"],
            "truncation": "disabled",
            "usage": None,
        }


_TOOL = {"strict": None, "parameters": None}  # what clients expect of each


def _call(call: NumberedCall) -> dict[str, Any]:
    """The item of a call."""
    return {
        "id": call.id.replace("call_", "fc_", 1),
        "type": "function_call",
        "status": "completed",
        "call_id": call.id,
        "name": call.call.name,
        "arguments": call.call.arguments,
    }


def _part(answer: Answer, parsed: ParsedAnswer) -> dict[str, Any]:
    text = parsed.text if parsed.calls else answer.answer
    logprobs = token_logprobs(answer.logprobs or ())
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs}


def _usage(answer: Answer) -> dict[str, Any]:
    """Tokens by the names of this protocol."""
    found = usage([answer])
    details = found.get("prompt_tokens_details", {"cached_tokens": 0, "video_tokens": 0})
    return {
        "input_tokens": found["prompt_tokens"],
        "input_tokens_details": details,
        "output_tokens": found["completion_tokens"],
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": found["total_tokens"],
        "dycoke": found["dycoke"],
    }
