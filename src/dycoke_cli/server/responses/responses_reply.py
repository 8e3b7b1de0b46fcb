"""Answers as clients of /v1/responses read them: one object, or a stream of events."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from dycoke_cli.answer.answer import Answer
from dycoke_cli.server.parsed_answer import NumberedCall, ParsedAnswer
from dycoke_cli.server.refused import Refused
from dycoke_cli.server.replies import event, token_logprobs, usage
from dycoke_cli.server.responses.responses_body import ResponsesRequest

_MESSAGE = "message"


@dataclass(frozen=True)
class ResponsesReply:
    """The reply to one request; its output is a message, calls of tools, or both."""

    model: str  # that is served
    request: ResponsesRequest  # what is asked
    created: float = field(default_factory=time.time)  # seconds since 1970
    _numbers: count[int] = field(default_factory=count)
    _streamed: list[str] = field(default_factory=list)  # the message and the ids of calls, in order

    def whole(self, answer: Answer, parsed: ParsedAnswer) -> dict[str, Any]:
        """The object of an answer."""
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

    def piece(self, piece: str | NumberedCall) -> bytes:
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

    def last(self, answer: Answer, parsed: ParsedAnswer) -> bytes:
        """The events that end a stream; see `whole`."""
        events = b"" if self._streamed else self._begun()
        whole = self.whole(answer, parsed)
        if _MESSAGE in self._streamed:
            number, part = self._streamed.index(_MESSAGE), _part(answer, parsed)
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
