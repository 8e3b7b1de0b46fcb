"""Answers as OpenAI's clients read them, whole or in chunks."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from dycoke_cli import Answer
from dycoke_cli.answer.json_schema import ABSENT, to_dict
from dycoke_cli.server.refused import Refused, in_keys
from dycoke_cli.unicode import to_json

DONE = b"data: [DONE]\n\n"
STILL_HERE = b": waiting\n\n"
"""A comment, which no client reads: it keeps a connection open, and finds out that it is closed."""


@dataclass(frozen=True)
class ChatReply:
    """The reply to one request."""

    model: str  # that is served
    include_usage: bool = False  # whether a stream ends with the figures
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
        if self.include_usage:
            head = self._head("chat.completion.chunk")
            end += event({**head, "choices": [], "usage": usage(answer)})
        return end + DONE

    def failed(self, reason: Refused) -> bytes:
        """The chunk of an error, which ends a stream."""
        return event(reason.document)

    def _chunk(self, delta: dict[str, Any], end: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": end}
        return event({**self._head("chat.completion.chunk"), "choices": [choice]})

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}


def usage(answer: Answer) -> dict[str, Any]:
    """Tokens as OpenAI counts them, and under `dycoke` what was dropped and how long it took.

    `prompt_tokens` are those that the language model read: without the visual tokens that were
    dropped before it. The keys of `dycoke` are those of `dycoke ask --json`.
    """
    tokens = answer.tokens
    prompt = tokens.visual_kept + tokens.text
    return {
        "prompt_tokens": prompt,
        "completion_tokens": tokens.generated,
        "total_tokens": prompt + tokens.generated,
        "prompt_tokens_details": {
            "cached_tokens": tokens.reused,
            "video_tokens": tokens.visual_kept,
        },
        "dycoke": {
            "method": answer.method,
            "frames": answer.frames.count,
            "tokens": to_dict(tokens),
            "visual_dropped": tokens.visual - tokens.visual_kept,
            **_present(answer, "windows", "subtitles"),
            "seconds": to_dict(answer.seconds),
            "seed": answer.seed,
            "warnings": [*dict.fromkeys(map(in_keys, answer.warnings))],
            **typed(answer),
        },
    }


def typed(answer: Answer) -> dict[str, Any]:
    """The keys of an answer that its options add; none where it had any answer."""
    return _present(answer, "choice", "probabilities", "margin", "mean", "scoring")


def _present(answer: Answer, *names: str) -> dict[str, Any]:
    values = {name: getattr(answer, name) for name in names}
    return {name: to_dict(value) for name, value in values.items() if value is not ABSENT}


def event(document: dict[str, Any], name: str | None = None) -> bytes:
    """A server-sent event; of /v1/responses it has a name."""
    head = "" if name is None else f"event: {name}\n"
    return f"{head}data: {to_json(document)}\n\n".encode()


def model(name: str, created: int, context: int | None) -> dict[str, Any]:
    """The model that is served.

    Args:
        context: tokens of its context; None where it isn't known.
    """
    about = {"created": created, "owned_by": "dycoke", "max_model_len": context}
    return {"id": name, "object": "model", **about}


def _end(answer: Answer) -> str:
    return "length" if answer.finish_reason == "length" else "stop"
