"""`/v1/responses`, OpenAI's newer protocol: its bodies as those of chat completions, its replies.

No conversation is kept: a client sends all of it, as with `store` false.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from typing import Any
from uuid import uuid4

from dycoke_cli import Answer, Request
from dycoke_cli.errors import DycokeError
from dycoke_cli.server.chat import ChatRequest, Reply, asked
from dycoke_cli.server.refused import Refused, refused
from dycoke_cli.server.replies import event, usage
from dycoke_cli.server.request_keys import (
    RESPONSES,
    TEXT,
    TEXT_FORMAT,
    object_of,
    options_of,
    text_of,
)

_NAMES = {
    "max_completion_tokens": "max_output_tokens",
    "response_format.json_schema": TEXT_FORMAT.name,
    "response_format": TEXT_FORMAT.name,
}
"""What the keys of chat completions that `to_chat` makes are called in the body."""


def read_responses(body: Any, defaults: Request, most_frames: int) -> ChatRequest:
    """Read a body of `/v1/responses`."""
    given = RESPONSES.object(body, "")
    metadata = {} if given.get("metadata") is None else object_of(given["metadata"], "metadata")
    instructions = given.get("instructions") or ""
    before = f"{text_of(instructions, 'instructions')}\n\n" if instructions else ""
    try:
        request = asked(to_chat(given), defaults, most_frames, "input", before)
    except (Refused, DycokeError) as error:
        raise _renamed(refused(error)) from error
    return replace(request, reply=partial(ResponsesReply, given={**given, "metadata": metadata}))


def _renamed(reason: Refused) -> Refused:
    """An error about the body of chat completions, by the names of this one."""
    sentence, parameter = str(reason), reason.parameter
    for name, own in _NAMES.items():
        sentence = sentence.replace(name, own)
        parameter = parameter and parameter.replace(name, own)
    return Refused(
        sentence, parameter, status=reason.status, code=reason.code, headers=reason.headers
    )


def to_chat(given: Mapping[str, Any]) -> dict[str, Any]:
    """The body as that of /v1/chat/completions, but for the key of its messages."""
    question = given.get("input")
    is_text = isinstance(question, str)
    chat = {
        **given,
        "input": [{"role": "user", "content": question}] if is_text else question,
        "max_completion_tokens": given.get("max_output_tokens"),
    }
    form = options_of(given, TEXT).get("format")
    if form is not None:
        form = TEXT_FORMAT.object(form, TEXT_FORMAT.name)
        inner = {"schema": form.get("schema")}
        chat["response_format"] = {"type": form.get("type"), "json_schema": inner, **inner}
    return chat


@dataclass(frozen=True)
class ResponsesReply(Reply):
    """The reply to one request; its output is a message."""

    given: Mapping[str, Any]  # the body
    id: str = field(default_factory=lambda: f"resp_{uuid4().hex}")  # of the response
    created: float = field(default_factory=time.time)  # seconds since 1970
    _numbers: count[int] = field(default_factory=count)

    def whole(self, answer: Answer) -> dict[str, Any]:
        """The object of an answer."""
        cut = answer.finish_reason == "length"
        status = "incomplete" if cut else "completed"
        return {
            **self._response(status),
            "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
            "output": [self._message(status, [_part(answer)])],
            "usage": _usage(answer),
        }

    def first(self) -> bytes:
        """The events before all text."""
        begun = self._response("in_progress")
        empty = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
        return (
            self._event("response.created", response=begun)
            + self._event("response.in_progress", response=begun)
            + self._event(
                "response.output_item.added",
                output_index=0,
                item=self._message("in_progress", []),
            )
            + self._event("response.content_part.added", **self._place, part=empty)
        )

    def piece(self, text: str) -> bytes:
        """The event of a stretch of text."""
        return self._event("response.output_text.delta", **self._place, delta=text, logprobs=[])

    def end(self, answer: Answer) -> bytes:
        """The events that end a stream."""
        whole, part = self.whole(answer), _part(answer)
        of_text = {"text": answer.answer, "logprobs": []}
        return (
            self._event("response.output_text.done", **self._place, **of_text)
            + self._event("response.content_part.done", **self._place, part=part)
            + self._event("response.output_item.done", output_index=0, item=whole["output"][0])
            + self._event(f"response.{whole['status']}", response=whole)
        )

    def failed(self, reason: Refused) -> bytes:
        """The event of an error, which ends a stream."""
        error = reason.document["error"]
        return self._event("error", **{key: error[key] for key in ("code", "message", "param")})

    @property
    def _place(self) -> dict[str, Any]:
        return {"item_id": self._message_id, "output_index": 0, "content_index": 0}

    @property
    def _message_id(self) -> str:
        return self.id.replace("resp_", "msg_", 1)

    def _event(self, kind: str, **fields: Any) -> bytes:
        return event({"type": kind, "sequence_number": next(self._numbers), **fields}, kind)

    def _message(self, status: str, content: list[dict[str, Any]]) -> dict[str, Any]:
        head = {"id": self._message_id, "type": "message", "role": "assistant"}
        return {**head, "status": status, "content": content}

    def _response(self, status: str) -> dict[str, Any]:
        given, options = self.given, self.request.request.generation
        text = given.get("text") or {}
        return {
            "id": self.id,
            "object": "response",
            "created_at": self.created,
            "status": status,
            "error": None,
            "incomplete_details": None,
            "instructions": given.get("instructions"),
            "max_output_tokens": options.max_tokens,
            "metadata": given["metadata"],
            "model": self.model,
            "output": [],
            "parallel_tool_calls": False,
            "previous_response_id": None,
            "store": False,
            "temperature": options.temperature,
            "text": {"format": text.get("format") or {"type": "text"}},
            "tool_choice": "none",
            "tools": [],
            "top_p": 1.0 if given.get("top_p") is None else given["top_p"],
            "truncation": "disabled",
            "usage": None,
        }


def _part(answer: Answer) -> dict[str, Any]:
    return {"type": "output_text", "text": answer.answer, "annotations": [], "logprobs": []}


def _usage(answer: Answer) -> dict[str, Any]:
    """Tokens by the names of this protocol."""
    found = usage(answer)
    return {
        "input_tokens": found["prompt_tokens"],
        "input_tokens_details": found["prompt_tokens_details"],
        "output_tokens": found["completion_tokens"],
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": found["total_tokens"],
        "dycoke": found["dycoke"],
    }
