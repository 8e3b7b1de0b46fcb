"""Turns of a conversation with tools; importing this imports neither torch nor transformers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any, Self


class ToolTurn(str):
    """Turn that is more than a text: calls of tools, their results, or a question with tools.

    As a text it is what the model reads of it, so that its length and its special tokens are
    checked like those of any other turn.
    """

    __slots__ = ("_messages", "tools")

    _messages: tuple[Mapping[str, Any], ...]
    # that the answer to it may call, as JSON Schemas of functions
    tools: tuple[Mapping[str, Any], ...]

    def __new__(
        cls, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] = ()
    ) -> Self:
        """Make the text of the messages."""
        turn = super().__new__(cls, "\n".join(text for one in messages for text in _texts(one)))
        turn._messages, turn.tools = tuple(messages), tuple(tools)
        return turn

    def with_message(self, message: Mapping[str, Any]) -> Self:
        """The same turn with one more message."""
        return type(self)((*self._messages, message), self.tools)

    def with_tools(self, tools: Sequence[Mapping[str, Any]]) -> Self:
        """The same turn, the answer to which may call tools."""
        return type(self)(self._messages, tools)

    @property
    def messages(self) -> list[dict[str, Any]]:
        """Copies of the messages, which may be changed."""
        return deepcopy([dict(one) for one in self._messages])


def text_message(role: str, text: str) -> dict[str, Any]:
    """Message of a text."""
    return {"role": role, "content": [{"type": "text", "text": text}]}


def messages_of(role: str, turn: str) -> list[dict[str, Any]]:
    """Messages of a turn."""
    return turn.messages if isinstance(turn, ToolTurn) else [text_message(role, turn)]


def tools_of(question: str) -> tuple[Mapping[str, Any], ...]:
    """Tools that the answer to a question may call."""
    return question.tools if isinstance(question, ToolTurn) else ()


def tools_text(question: str) -> str:
    """JSON of the tools of a question; "" without any."""
    tools = tools_of(question)
    return json.dumps(tools, ensure_ascii=False) if tools else ""


def _texts(message: Mapping[str, Any]) -> list[str]:
    """Texts of a message, in order; a call's is its JSON."""
    texts = [part["text"] for part in message["content"]]
    calls = (call["function"] for call in message.get("tool_calls", ()))
    return [*texts, *(json.dumps(call, ensure_ascii=False) for call in calls)]
