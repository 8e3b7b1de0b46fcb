"""Answers as OpenAI's clients read them: whole, or in chunks."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from dycoke_cli.answer.answer import Answer
from dycoke_cli.answer.json_schema import ABSENT, to_dict
from dycoke_cli.unicode import to_json

DONE = b"data: [DONE]\n\n"
STILL_HERE = b": waiting\n\n"
"""A comment, which no client reads: it keeps a connection open, and finds out that it is closed."""


@dataclass(frozen=True)
class Reply:
    """The reply to one request.

    Args:
        model: that is served.
        id: of the completion.
        created: seconds since 1970.
    """

    model: str
    id: str = field(default_factory=lambda: f"chatcmpl-{uuid4().hex}")
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self, answer: Answer) -> dict[str, Any]:
        """The object of an answer that isn't streamed."""
        message = {"role": "assistant", "content": answer.answer, "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _end(answer)}
        return {**self._head("chat.completion"), "choices": [choice], "usage": usage(answer)}

    def first(self) -> bytes:
        """The chunk before all text."""
        return self._chunk({"role": "assistant", "content": ""})

    def text(self, piece: str) -> bytes:
        """A chunk of the answer."""
        return self._chunk({"content": piece})

    def last(self, answer: Answer, include_usage: bool) -> bytes:
        """What ends a stream."""
        end = self._chunk({}, _end(answer))
        if include_usage:
            head = self._head("chat.completion.chunk")
            end += event({**head, "choices": [], "usage": usage(answer)})
        return end + DONE

    def _chunk(self, delta: dict[str, str], end: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": end}
        return event({**self._head("chat.completion.chunk"), "choices": [choice]})

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}


def usage(answer: Answer) -> dict[str, Any]:
    """Tokens as OpenAI counts them, and under `dycoke` what was dropped and how long it took.

    `prompt_tokens` are those that the language model read: without the visual tokens that were
    dropped before it. The keys of `dycoke` are those of `dycoke ask --json`.
    """
    if answer.refused:
        own: dict[str, Any] = {"method": answer.method, "warnings": list(answer.warnings)}
        return {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0, "dycoke": own}
    tokens = answer.tokens
    prompt, generated = tokens.visual_kept + tokens.text, tokens.generated
    return {
        "prompt_tokens": prompt,
        "completion_tokens": generated,
        "total_tokens": prompt + generated,
        "dycoke": {
            "method": answer.method,
            "frames": answer.frames.count,
            "tokens": to_dict(tokens),
            "visual_dropped": tokens.visual - tokens.visual_kept,
            "seconds": to_dict(answer.seconds),
            "seed": answer.seed,
            "warnings": list(answer.warnings),
            **typed(answer),
        },
    }


def typed(answer: Answer) -> dict[str, Any]:
    """The keys of an answer that its options add; none where it had any answer."""
    names = ("choice", "probabilities", "margin", "scoring")
    values = {name: getattr(answer, name) for name in names}
    return {name: to_dict(value) for name, value in values.items() if value is not ABSENT}


def event(document: dict[str, Any]) -> bytes:
    """A server-sent event."""
    return f"data: {to_json(document)}\n\n".encode()


def models(name: str, created: int) -> dict[str, Any]:
    """The list with the one model that is served."""
    one = {"id": name, "object": "model", "created": created, "owned_by": "dycoke"}
    return {"object": "list", "data": [one]}


def _end(answer: Answer) -> str:
    return "length" if answer.finish_reason == "length" else "stop"
