"""Answers as OpenAI's clients read them, whole or in chunks: text, and the calls of tools."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from dycoke_cli.answer.answer import Answer, TokenLogprob
from dycoke_cli.answer.json_schema import ABSENT, Absent, to_dict
from dycoke_cli.server.refused import Refused, in_keys
from dycoke_cli.unicode import to_json

if TYPE_CHECKING:
    from dycoke_cli.server.tool_calls import CallParser, ToolCall
    from dycoke_cli.server.tools import ForcedCallParser


@dataclass(frozen=True)
class NumberedCall:
    """Call of a tool in an answer."""

    call: ToolCall  # what is called
    index: int  # of the call in the answer
    # by which a client sends the result
    id: str = field(default_factory=lambda: f"call_{uuid4().hex}")

    @property
    def document(self) -> dict[str, Any]:
        """The call as OpenAI's clients read it."""
        function = {"name": self.call.name, "arguments": self.call.arguments}
        return {"id": self.id, "type": "function", "function": function}


class ParsedAnswer:
    """One answer while it is generated.

    Args:
        parser: of its calls; None where it can't have any.

    Attributes:
        text: so far, beside the calls.
        calls: so far.
    """

    def __init__(
        self, parser: CallParser | ForcedCallParser | None, *, named: bool = False
    ) -> None:
        self._parser, self._named, self.text = parser, named, ""
        self.calls: list[NumberedCall] = []

    def add(self, text: str) -> list[str | NumberedCall]:
        """Add a stretch of the answer; returns what is new for the client."""
        return self._taken([text] if self._parser is None else self._parser.feed(text))

    def end(self) -> list[str | NumberedCall]:
        """End the answer; returns what is new for the client."""
        return self._taken([] if self._parser is None else self._parser.end())

    @property
    def end_reason(self) -> str:
        """Why it ended, in OpenAI's words; a call that the request names is no reason there."""
        return "tool_calls" if self.calls and not self._named else "stop"

    @property
    def content(self) -> dict[str, Any]:
        """The keys of its message."""
        if not self.calls:
            return {"content": self.text}
        calls = [call.document for call in self.calls]
        return {"content": self.text or None, "tool_calls": calls}

    def _taken(self, found: Iterable[str | ToolCall]) -> list[str | NumberedCall]:
        taken: list[str | NumberedCall] = []
        for one in found:
            if isinstance(one, str):
                if self.calls and one.isspace():  # between calls, and behind the last
                    continue
                self.text += one
                taken.append(one)
            else:
                call = NumberedCall(one, len(self.calls))
                self.calls.append(call)
                taken.append(call)
        return taken


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

    def whole(self, answers: Sequence[Answer], parsed: Sequence[ParsedAnswer]) -> dict[str, Any]:
        """The object of answers that aren't streamed."""
        choices = [
            {
                "index": index,
                "message": {"role": "assistant", **found.content, "refusal": None},
                "logprobs": _logprobs(answer),
                "finish_reason": _end(answer, found),
            }
            for index, (answer, found) in enumerate(zip(answers, parsed, strict=True))
        ]
        return {**self._head("chat.completion"), "choices": choices, "usage": usage(answers)}

    def first(self, index: int = 0) -> bytes:
        """The chunk before all text of an answer."""
        return self._chunk(index, {"role": "assistant", "content": ""})

    def piece(self, piece: str | NumberedCall, index: int = 0) -> bytes:
        """A chunk of an answer: text, or a whole call."""
        if isinstance(piece, str):
            return self._chunk(index, {"content": piece})
        return self._chunk(index, {"tool_calls": [{"index": piece.index, **piece.document}]})

    def end(self, answers: Sequence[Answer], parsed: ParsedAnswer, *, more: bool) -> bytes:
        """The chunks behind all of an answer, with the log-probabilities of all its tokens.

        Args:
            answers: this one, behind those before it.
            more: whether another follows; otherwise the stream ends.
        """
        answer, index = answers[-1], len(answers) - 1
        end = self._chunk(index, {}, _end(answer, parsed), _logprobs(answer))
        if more:
            return end + self.first(index + 1)
        if self.include_usage:
            head = self._head("chat.completion.chunk")
            end += event({**head, "choices": [], "usage": usage(answers)})
        return end + DONE

    def failed(self, reason: Refused) -> bytes:
        """The chunk of an error, which ends a stream."""
        return event(reason.document)

    def _chunk(
        self,
        index: int,
        delta: dict[str, Any],
        end: str | None = None,
        logprobs: dict[str, Any] | None = None,
    ) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": end}
        return event({**self._head("chat.completion.chunk"), "choices": [choice]})

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}


def usage(answers: Sequence[Answer]) -> dict[str, Any]:
    """Tokens as OpenAI counts them, and under `dycoke` what was dropped and how long it took.

    `prompt_tokens` are those that the language model read: without the visual tokens that were
    dropped before it. The keys of `dycoke` are those of `dycoke ask --json`, of the first answer;
    `warnings` are those of all.

    Args:
        answers: to one prompt, at least one.
    """
    first = answers[0]
    sentences = (warning for answer in answers for warning in answer.warnings)
    warnings = [*dict.fromkeys(map(in_keys, sentences))]
    tokens = first.tokens
    prompt = tokens.visual_kept + tokens.text
    generated = sum(answer.tokens.generated for answer in answers)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": generated,
        "total_tokens": prompt + generated,
        "prompt_tokens_details": {
            "cached_tokens": tokens.reused,
            "video_tokens": tokens.visual_kept,
        },
        "dycoke": {
            "method": first.method,
            "frames": first.frames.count,
            "tokens": to_dict(tokens),
            "visual_dropped": tokens.visual - tokens.visual_kept,
            **({} if isinstance(first.windows, Absent) else {"windows": to_dict(first.windows)}),
            "seconds": to_dict(first.seconds),
            "seed": first.seed,
            "warnings": warnings,
            **typed(first),
        },
    }


def typed(answer: Answer) -> dict[str, Any]:
    """The keys of an answer that its options add; none where it had any answer."""
    names = ("choice", "probabilities", "margin", "mean", "scoring")
    values = {name: getattr(answer, name) for name in names}
    return {name: to_dict(value) for name, value in values.items() if value is not ABSENT}


def token_logprobs(tokens: Sequence[TokenLogprob]) -> list[dict[str, Any]]:
    """Log-probabilities of tokens, as both of OpenAI's protocols have them."""
    return [
        {
            **_token(one.text, one.logprob),
            "top_logprobs": [_token(text, logprob) for text, logprob in one.likeliest],
        }
        for one in tokens
    ]


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


def _token(text: str, logprob: float) -> dict[str, Any]:
    return {"token": text, "logprob": logprob, "bytes": list(text.encode("utf-8", "replace"))}


def _logprobs(answer: Answer) -> dict[str, Any] | None:
    if answer.logprobs is None:
        return None
    return {"content": token_logprobs(answer.logprobs), "refusal": None}


def _end(answer: Answer, parsed: ParsedAnswer) -> str:
    return "length" if answer.finish_reason == "length" else parsed.end_reason
