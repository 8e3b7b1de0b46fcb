"""Answers as clients of /v1/responses read them: one object, or a stream of events."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from dycoke_cli.answer.answer import Answer
from dycoke_cli.server.refused import Refused
from dycoke_cli.server.replies import event, token_logprobs, usage
from dycoke_cli.server.responses.responses_body import ResponsesRequest

_PLACE = {"output_index": 0, "content_index": 0}


@dataclass(frozen=True)
class ResponsesReply:
    """The reply to one request; its output is one message.

    Args:
        model: that is served.
        request: what is asked.
        created: seconds since 1970.
    """

    model: str
    request: ResponsesRequest
    created: float = field(default_factory=time.time)
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
        part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
        message = self._message("in_progress", [])
        return (
            self._event("response.created", response=begun)
            + self._event("response.in_progress", response=begun)
            + self._event("response.output_item.added", output_index=0, item=message)
            + self._event("response.content_part.added", **self._place, part=part)
        )

    def text(self, piece: str) -> bytes:
        """The event of a stretch of the answer."""
        return self._event("response.output_text.delta", **self._place, delta=piece, logprobs=[])

    def last(self, answer: Answer) -> bytes:
        """The events that end a stream."""
        whole, part = self.whole(answer), _part(answer)
        of_text = {"text": part["text"], "logprobs": part["logprobs"]}
        [message] = whole["output"]
        return (
            self._event("response.output_text.done", **self._place, **of_text)
            + self._event("response.content_part.done", **self._place, part=part)
            + self._event("response.output_item.done", output_index=0, item=message)
            + self._event(f"response.{whole['status']}", response=whole)
        )

    def failed(self, reason: Refused) -> bytes:
        """The event of an error, which ends a stream."""
        error = reason.document["error"]
        return self._event("error", **{key: error[key] for key in ("code", "message", "param")})

    @property
    def _place(self) -> dict[str, Any]:
        return {"item_id": self._message_id, **_PLACE}

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
            "parallel_tool_calls": False,
            "previous_response_id": given.get("previous_response_id"),
            "store": self.request.store,
            "temperature": options.temperature,
            "text": {"format": text.get("format") or {"type": "text"}},
            "tool_choice": "none",
            "tools": [],
            "top_p": 1.0 if given.get("top_p") is None else given["top_p"],
            "truncation": "disabled",
            "usage": None,
        }


def _part(answer: Answer) -> dict[str, Any]:
    logprobs = token_logprobs(answer.logprobs or ())
    return {
        "type": "output_text", "text": answer.answer, "annotations": [], "logprobs": logprobs
    }  # fmt: skip


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
